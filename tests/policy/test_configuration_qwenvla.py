import pytest


def test_frames_reach_back_by_the_frame_skip(make_config):
    assert make_config().observation_delta_indices == [-4, -2, 0]
    assert make_config(num_frames=1).observation_delta_indices == [0]
    assert make_config(num_frames=2, frame_skip=5).observation_delta_indices == [-5, 0]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("quantization", "3bit", "--policy.quantization must be one of none, 4bit, 8bit, got '3bit'"),
        ("dtype", "float16", "--policy.dtype must be one of float32, bfloat16, got 'float16'"),
        ("vision_quantization", "16bit", "--policy.vision_quantization must be one of none, 4bit, 8bit, got '16bit'"),
        ("frame_encoding", "video", "--policy.frame_encoding must be one of per_frame, joint, got 'video'"),
        ("frame_caching", "always", "--policy.frame_caching must be one of lazy, eager, got 'always'"),
        ("token_pooling", "max", "--policy.token_pooling must be one of none, average, learned, got 'max'"),
        ("noise_draws", 0, "--policy.noise_draws must be at least 1, got 0"),
        ("instruction_dropout", -0.1, "--policy.instruction_dropout must be between 0 and 1, got -0.1"),
        ("guidance_scale", 3.0, "--policy.guidance_scale=3.0 needs a policy trained with instructions hidden"),
        ("vlm_layer", 0, "--policy.vlm_layer must be at least 1, got 0"),
        ("num_frames", 0, "--policy.num_frames must be at least 1, got 0"),
        ("chunk_size", 0, "--policy.chunk_size must be at least 1, got 0"),
        ("image_size", 16, "--policy.image_size must be at least 32 pixels, got 16"),
        ("n_action_steps", 7, "--policy.n_action_steps=7 exceeds --policy.chunk_size=6"),
        ("state_dropout", 1.5, "--policy.state_dropout must be between 0 and 1, got 1.5"),
        ("expert_heads", 5, "--policy.expert_width=64 must be a multiple of twice --policy.expert_heads=5"),
    ],
)
def test_impossible_settings_are_refused(make_config, field, value, message):
    with pytest.raises(ValueError, match=message):
        make_config(**{field: value}).validate_settings()


def test_a_column_that_only_sounds_like_features_is_left_alone(make_config):
    config = make_config()
    vector = {"dtype": "float32", "shape": (2,), "names": None}
    config.input_features = {}
    config.set_dataset_feature_metadata({"observation.features.x": vector, "action": vector})
    assert config.input_features == {}


def test_actions_of_a_robot_are_those_of_a_converted_dataset(make_config):
    config = make_config(action_names=["mouse.x", "key.w"])
    config.set_dataset_feature_metadata({"action": {"names": ["mouse.x.vel", "key.w.vel"]}})
    with pytest.raises(ValueError, match="trained on the actions"):
        config.set_dataset_feature_metadata({"action": {"names": ["mouse.y.vel", "key.w.vel"]}})
