import logging
from threading import Event, Thread

import numpy as np
import pytest
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_STATE
from safetensors.torch import load_file, save_file
from torch._dynamo.testing import CompileCounterWithBackend

from lerobot_qwenvla.backbone.tiny import make_tiny_backbone
from lerobot_qwenvla.policy import observation as observation_module
from lerobot_qwenvla.policy.algorithm.context import Features
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy

SCREEN = "observation.images.screen"


def episode(steps: int, batch: int) -> list[dict]:
    """Observations as lerobot-eval passes them: one picture per environment and step."""
    generator = torch.Generator().manual_seed(1)
    return [
        {
            SCREEN: torch.rand(batch, 3, 64, 64, generator=generator),
            OBS_STATE: torch.rand(batch, 5, generator=generator),
            "task": ["go to the red box", "go"][:batch],
        }
        for _ in range(steps)
    ]


def test_cached_frames_give_the_same_actions_as_encoding_all_of_them(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset, n_action_steps=1)
    observations = episode(steps=9, batch=2)
    noise = torch.randn(2, 6, 5)
    for step, observation in enumerate(observations):
        cached = policy.select_action(observation, noise=noise)
        frames = [observations[max(0, step + offset)][SCREEN] for offset in (-4, -2, 0)]
        uncached = policy.predict_action_chunk({**observation, SCREEN: torch.stack(frames, dim=1)}, noise=noise)[:, 0]
        torch.testing.assert_close(cached, uncached, atol=1e-4, rtol=0)
    assert policy.perception.memory.misses == 18
    assert policy.perception.memory.hits > 0


def test_a_new_instruction_counts_from_the_next_decision(pixel_dataset, make_trainee):
    policy, obedient, deaf = (make_trainee(pixel_dataset, n_action_steps=2) for _ in range(3))
    noise = torch.randn(2, 6, 5)
    for step, observation in enumerate(episode(steps=6, batch=2)):
        told = {**observation, "task": ["stop", "turn"]}
        action = policy.select_action(told if step >= 3 else observation, noise=noise)
        always_told, never_told = (
            obedient.select_action(told, noise=noise),
            deaf.select_action(observation, noise=noise),
        )
        expected = always_told if step >= 4 else never_told  # it decides at 0, 2 and 4
        torch.testing.assert_close(action, expected, atol=1e-4, rtol=0)
    assert (always_told - never_told).abs().max() > 1e-3


def test_looking_ahead_at_an_observation_is_no_step(pixel_dataset, make_trainee):
    policy, plain = make_trainee(pixel_dataset), make_trainee(pixel_dataset)
    noise = torch.randn(2, 6, 5)
    for observation in episode(steps=9, batch=2):
        action = policy.select_action(observation, noise=noise)
        chunk = policy.predict_action_chunk(observation, noise=noise)
        assert torch.equal(action, plain.select_action(observation, noise=noise))
    assert policy._step == 8
    torch.testing.assert_close(chunk[:, 0], action, atol=1e-4, rtol=0)


def test_a_caller_may_say_which_step_an_observation_is_of_and_whose(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset)
    observations, noise = episode(steps=12, batch=1), torch.randn(2, 6, 5)
    for at in (0, 3, 4, 6, 8):
        pair = [observations[at], observations[at + 3]]
        both = {key: torch.cat([o[key] for o in pair]) for key in (SCREEN, OBS_STATE)} | {"task": ["go", "go"]}
        chunk = policy.predict_action_chunk(both, noise, steps=[at, at + 100], sessions=["here", "there"])
    frames = [[observations[i][SCREEN] for i in window] for window in ((4, 6, 8), (7, 9, 11))]
    frames = torch.cat([torch.stack(window, dim=1) for window in frames])
    torch.testing.assert_close(chunk, policy.predict_action_chunk({**both, SCREEN: frames}, noise), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="got 1 steps and 2 sessions for 2 observations"):
        policy.predict_action_chunk(both, noise, steps=[0], sessions=["here", "there"])


def test_one_session_ends_and_the_other_goes_on(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset)
    observations, noise = episode(steps=5, batch=2), torch.randn(2, 6, 5)
    for step, observation in enumerate(observations):
        chunk = policy.predict_action_chunk(observation, noise, steps=[step] * 2, sessions=["a", "b"])
    policy.reset("a")
    again = policy.predict_action_chunk(observations[-1], noise, steps=[0, 4], sessions=["a", "b"])
    torch.testing.assert_close(again[1], chunk[1], atol=1e-5, rtol=0)
    assert not torch.allclose(again[0], chunk[0], atol=1e-3)


def test_decisions_survive_resets_by_another_thread(pixel_dataset, make_trainee):
    policy, stop = make_trainee(pixel_dataset, n_action_steps=1), Event()

    def end_episodes() -> None:
        while not stop.wait(1e-4):
            policy.reset()

    thread = Thread(target=end_episodes)
    thread.start()
    try:
        for observation in episode(steps=30, batch=2):
            assert policy.select_action(observation).isfinite().all()
    finally:
        stop.set()
        thread.join()


def test_lerobots_compilation_of_the_whole_decision_leaves_it_as_it_is(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset, num_inference_steps=2)
    noise = torch.randn(2, 6, 5)
    observations = episode(steps=4, batch=2)
    expected = [policy.predict_action_chunk(o, noise) for o in observations]
    policy.reset()
    velocity, whole = CompileCounterWithBackend("eager"), CompileCounterWithBackend("eager")
    policy.model.velocity = torch.compile(policy.model.velocity, backend=velocity, fullgraph=True)
    decide = torch.compile(policy.predict_action_chunk, backend=whole)  # as lerobot-rollout --use_torch_compile=true
    for observation, chunk in zip(observations, expected, strict=True):
        torch.testing.assert_close(decide(observation, noise), chunk, atol=1e-5, rtol=1e-4)
    assert (velocity.frame_count, whole.frame_count) == (1, 0)


def test_queued_actions_can_be_dropped_by_lerobots_name_for_them(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset)
    policy.select_action(episode(1, 2)[0])
    queues = [getattr(policy, name) for name in policy._action_queue_attrs]
    assert [len(queue) for queue in queues] == [1]


def test_environments_in_a_batch_act_as_each_would_alone(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset)
    observations = episode(steps=7, batch=2)
    noise = torch.randn(2, 6, 5)
    together = torch.stack([policy.select_action(o, noise=noise) for o in observations])
    for env in range(2):
        policy.reset()
        alone = [
            policy.select_action({key: value[env : env + 1] for key, value in o.items()}, noise=noise[env : env + 1])
            for o in observations
        ]
        torch.testing.assert_close(together[:, env], torch.cat(alone), atol=1e-4, rtol=0)


def test_looks_again_after_n_action_steps(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset, n_action_steps=3)
    seen = []
    for observation in episode(steps=7, batch=1):
        policy.select_action(observation)
        seen.append(policy.perception.memory.misses)
    assert seen == [1, 1, 1, 3, 3, 3, 6]  # frames 0, then 1 and 3, then 2, 4 and 6


def test_reset_forgets_the_episode(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset)
    observations = episode(steps=5, batch=1)
    noise = torch.randn(1, 6, 5)
    first = [policy.select_action(o, noise=noise) for o in observations]
    policy.reset()
    second = [policy.select_action(o, noise=noise) for o in observations]
    torch.testing.assert_close(torch.stack(first), torch.stack(second), rtol=0, atol=0)


@pytest.mark.parametrize("quantization", ["none", "4bit"])
def test_saved_and_loaded_policy_gives_identical_actions(pixel_dataset, make_trainee, tmp_path, quantization):
    policy = make_trainee(pixel_dataset, quantization=quantization)
    policy.save_pretrained(tmp_path)
    loaded = QwenVLAPolicy.from_pretrained(tmp_path)
    observation, noise = episode(1, 2)[0], torch.randn(2, 6, 5)
    before = policy.predict_action_chunk(observation, noise=noise)
    assert torch.equal(before, loaded.predict_action_chunk(observation, noise=noise))
    assert loaded.config.backbone == policy.config.backbone


def test_checkpoint_holds_what_was_trained_and_nothing_else(pixel_dataset, make_trainee, tmp_path):
    policy = make_trainee(pixel_dataset, quantization="4bit")
    policy.save_pretrained(tmp_path)
    trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    of_dataset = {f"model.{name}" for name, _ in policy.model.named_buffers()}
    assert set(load_file(tmp_path / "model.safetensors")) == set(trained) | of_dataset
    trained_bytes = sum(p.numel() * p.element_size() for p in trained.values())
    assert (tmp_path / "model.safetensors").stat().st_size < 1.2 * trained_bytes


def test_checkpoint_without_one_of_its_weights_is_refused(pixel_dataset, make_trainee, tmp_path):
    make_trainee(pixel_dataset).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.expert.position"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors is not of this policy.*model\.expert\.position"):
        QwenVLAPolicy.from_pretrained(tmp_path)


@pytest.mark.parametrize("other", [{"expert_width": 32}, {"token_pooling": "learned"}, {"expert_layers": 4}])
def test_checkpoint_of_another_policy_is_refused(pixel_dataset, make_trainee, tmp_path, other):
    make_trainee(pixel_dataset).save_pretrained(tmp_path)
    config = PreTrainedConfig.from_pretrained(tmp_path)
    for name, value in other.items():
        setattr(config, name, value)
    with pytest.raises(ValueError, match=r"is not of this policy: backbone, cameras, state, actions and expert"):
        QwenVLAPolicy.from_pretrained(tmp_path, config=config)


def test_checkpoint_of_another_backbone_is_refused(pixel_dataset, make_trainee, tmp_path):
    make_trainee(pixel_dataset).save_pretrained(tmp_path / "checkpoint")
    config = PreTrainedConfig.from_pretrained(tmp_path / "checkpoint")
    config.backbone = str(make_tiny_backbone(tmp_path / "wider", width=128))
    with pytest.raises(ValueError, match=r"is not of this policy: backbone.*size mismatch"):
        QwenVLAPolicy.from_pretrained(tmp_path / "checkpoint", config=config)


def test_checkpoint_of_other_actions_is_refused(pixel_dataset, make_trainee, tmp_path):
    policy = make_trainee(pixel_dataset)
    assert policy.config.action_names == [f"channel.{i}" for i in range(5)]
    policy.save_pretrained(tmp_path)
    config = PreTrainedConfig.from_pretrained(tmp_path)
    features = {**pixel_dataset.meta.features, ACTION: {**pixel_dataset.meta.features[ACTION], "names": list("abcde")}}
    with pytest.raises(ValueError, match=r"trained on the actions \['channel.0'.*the dataset has \['a', 'b'"):
        config.set_dataset_feature_metadata(features)


def test_folder_that_is_no_checkpoint_is_refused(pixel_dataset, make_trainee, tmp_path):
    make_trainee(pixel_dataset).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model.safetensors: missing"):
        QwenVLAPolicy.from_pretrained(tmp_path)


def test_no_gradient_reaches_the_backbone(pixel_dataset, make_trainee, make_batch):
    policy = make_trainee(pixel_dataset)
    loss, _ = policy(make_batch(pixel_dataset, policy, [0, 12]))
    loss.backward()
    assert all(p.grad is None for p in policy.backbone.parameters())
    assert all(p.grad is not None for module in (policy.model,) for p in module.parameters())


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_padded_actions_do_not_count(pixel_dataset, make_trainee, make_batch, reduction):
    policy = make_trainee(pixel_dataset).eval()
    batch = make_batch(pixel_dataset, policy, [7, 8])  # two and one actions before the end of the episode
    assert batch["action_is_pad"].sum(1).tolist() == [4, 5]
    losses = []
    for padding in (0.0, 100.0):
        batch[ACTION][batch["action_is_pad"]] = padding
        losses.append(policy(batch, reduction=reduction)[0])
    # The expert is causal, so that what stands behind an action cannot change it.
    torch.testing.assert_close(losses[0], losses[1])
    assert losses[0].shape == (() if reduction == "mean" else (2,))


def test_the_loss_of_mouse_buttons_and_keys_is_told_apart(pixel_dataset, make_trainee, make_batch):
    policy = make_trainee(pixel_dataset)
    batch = make_batch(pixel_dataset, policy, [0, 8])
    noise, time = torch.randn(2, 6, 5), torch.rand(2)
    fixed = {**batch, "noise": noise, "time": time}
    assert policy(fixed)[1] == {}  # its channels are no mouse, button or key
    policy.config.action_names = ["mouse.x.vel", "mouse.y.vel", "button.left", "key.w", "key.a"]
    loss, parts = policy(fixed)
    assert list(parts) == ["loss_mouse", "loss_button", "loss_key"]
    mean = (2 * parts["loss_mouse"] + parts["loss_button"] + 2 * parts["loss_key"]) / 5
    assert mean == pytest.approx(loss.item(), rel=1e-5)
    assert all(isinstance(part, float) for part in parts.values())


def test_validation_has_the_same_loss_each_time_and_leaves_chance_alone(pixel_dataset, make_trainee, make_batch):
    policy = make_trainee(pixel_dataset, state_dropout=0.5)
    batch = make_batch(pixel_dataset, policy, [0, 8, 12])

    def validate(batch: dict, reduction: str = "mean") -> torch.Tensor:
        policy.eval()
        before = torch.get_rng_state(), policy.config.batches_trained
        with torch.no_grad():
            loss = policy(batch, reduction=reduction)[0]
        assert torch.equal(torch.get_rng_state(), before[0]) and policy.config.batches_trained == before[1]
        policy.train()
        return loss

    first, by_sample = validate(batch), validate(batch, "none")
    policy(batch)  # a step of training between
    torch.manual_seed(5)
    assert torch.equal(validate(batch), first)
    reordered = validate(make_batch(pixel_dataset, policy, [12, 0]), "none")
    torch.testing.assert_close(reordered, by_sample[[2, 0]], atol=1e-6, rtol=1e-5)


def test_what_chance_decides_in_training_depends_on_seed_step_and_sample(pixel_dataset, make_trainee, make_batch):
    policy = make_trainee(pixel_dataset, state_dropout=0.5).train()
    batch = make_batch(pixel_dataset, policy, [0, 8])

    def train(seed: int, step: int) -> torch.Tensor:
        torch.manual_seed(seed)
        torch.rand(seed + step)  # whatever was drawn before
        policy.config.batches_trained = step
        return policy(batch, reduction="none")[0].detach()

    first = train(seed=1, step=7)
    assert policy.config.batches_trained == 8
    assert torch.equal(first, train(seed=1, step=7))
    assert all((first - other).abs().min() > 1e-6 for other in (train(1, 8), train(2, 7)))


def test_the_loss_of_a_batch_is_the_mean_over_its_halves(pixel_dataset, make_trainee, make_batch):
    policy = make_trainee(pixel_dataset).eval()
    rows = [0, 3, 7, 8]  # the last two look past the end of their episode
    whole, *halves = (policy(make_batch(pixel_dataset, policy, part))[0] for part in (rows, rows[:2], rows[2:]))
    torch.testing.assert_close(whole, torch.stack(halves).mean(), atol=1e-6, rtol=1e-5)


def test_the_state_matters_unless_it_is_always_hidden(pixel_dataset, make_trainee):
    observation, noise = episode(1, 2)[0], torch.randn(2, 6, 5)
    elsewhere = {**observation, OBS_STATE: -observation[OBS_STATE]}
    for dropout in (0.0, 0.5, 1.0):
        policy = make_trainee(pixel_dataset, state_dropout=dropout)
        chunks = []
        for seen in (observation, elsewhere):
            policy.reset()
            chunks.append(policy.predict_action_chunk(seen, noise=noise))
        assert torch.equal(*chunks) == (dropout == 1.0)


def test_hidden_states_do_not_reach_the_loss(pixel_dataset, make_trainee, make_batch):
    policy = make_trainee(pixel_dataset, state_dropout=0.5).train()
    batch = {**make_batch(pixel_dataset, policy, [1] * 64), "index": torch.arange(64)}
    losses = []
    for _ in range(2):
        policy.config.batches_trained = 0
        losses.append(policy(batch, reduction="none")[0])
        batch[OBS_STATE] = -batch[OBS_STATE]
    unchanged = (losses[0] == losses[1]).float().mean()
    assert 0.25 < unchanged < 0.75


def test_every_trained_parameter_is_in_one_optimizer_group(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset, optimizer_projector_lr_scale=0.5)
    groups = policy.get_optim_params()
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in policy.parameters() if p.requires_grad)
    assert {group["lr"] for group in groups} == {1e-4, 5e-5}
    undecayed = {id(p) for group in groups if group.get("weight_decay") == 0.0 for p in group["params"]}
    assert all(id(p) in undecayed for name, p in policy.named_parameters() if p.requires_grad and p.ndim < 2)


@pytest.mark.parametrize("goes_on_from_checkpoint", [False, True])
def test_a_key_never_pressed_in_training_can_be_pressed(pixel_dataset, make_trainee, tmp_path, goes_on_from_checkpoint):
    policy = make_trainee(pixel_dataset)
    processors = make_pre_post_processors(policy.config, dataset_stats=pixel_dataset.meta.stats)
    if goes_on_from_checkpoint:
        for processor in processors:
            processor.save_pretrained(tmp_path)
        stats = {"stats": pixel_dataset.meta.stats}  # as lerobot-train overrides them
        processors = make_pre_post_processors(
            policy.config,
            pretrained_path=str(tmp_path),
            preprocessor_overrides={"normalizer_processor": stats},
            postprocessor_overrides={"unnormalizer_processor": stats},
        )
    preprocess, postprocess = processors
    pressed = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]])
    batch = preprocess({OBS_STATE: pressed, ACTION: pressed, "task": ["go"]})
    assert batch[OBS_STATE].abs().max() < 2
    assert batch[ACTION].abs().max() < 2
    torch.testing.assert_close(postprocess(batch[ACTION]), pressed)


def test_an_observation_buffer_may_be_filled_again(pixel_dataset, make_trainee):
    policies = [make_trainee(pixel_dataset, n_action_steps=1) for _ in range(2)]
    buffer, noise = torch.empty(1, 3, 64, 64), torch.randn(1, 6, 5)
    for observation in episode(steps=6, batch=1):
        buffer.copy_(observation[SCREEN])
        actions = [
            policy.select_action({**observation, SCREEN: picture}, noise=noise)
            for policy, picture in zip(policies, (buffer, observation[SCREEN]), strict=True)
        ]
        assert torch.equal(*actions)


def test_a_batch_that_changes_without_reset_is_refused(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset)
    policy.select_action(episode(1, 2)[0])
    with pytest.raises(ValueError, match=r"got 1 observations, but decided for 2; call reset\(\) between"):
        policy.select_action(episode(1, 1)[0])


def test_settings_that_change_features_a_little_are_warned_of(pixel_dataset, make_trainee, tmp_path, caplog):
    make_trainee(pixel_dataset).save_pretrained(tmp_path)
    config = PreTrainedConfig.from_pretrained(tmp_path)
    config.quantization, config.dtype, config.frame_skip = "4bit", "bfloat16", 3
    with caplog.at_level(logging.WARNING):
        QwenVLAPolicy.from_pretrained(tmp_path, config=config)
    for name, trained, used in (
        ("quantization", "none", "4bit"),
        ("dtype", "float32", "bfloat16"),
        ("frame_skip", 2, 3),
    ):
        assert f"was trained with {name}={trained} and is used with {used}" in caplog.text


def test_a_checkpoint_whose_backbone_is_elsewhere_says_where_it_looked(
    pixel_dataset, make_trainee, backbone_dir, tmp_path, monkeypatch
):
    policy = make_trainee(pixel_dataset)
    policy.config.backbone = f"outputs/{backbone_dir.name}"  # as it was where it was trained
    policy.save_pretrained(tmp_path / "checkpoint")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=rf"--policy\.backbone=outputs/tiny: there is no folder {tmp_path}/outputs/tiny"
    ):
        QwenVLAPolicy.from_pretrained("checkpoint")


def test_pushing_a_policy_with_a_local_backbone_is_warned_of(pixel_dataset, make_trainee, caplog):
    make_trainee(pixel_dataset, push_to_hub=True, repo_id="me/policy")
    assert "a local folder, which is not pushed with it" in caplog.text


@pytest.mark.parametrize("setting", [{"vlm_layer": 3}, {"image_size": 96}])
def test_features_of_another_kind_than_trained_on_are_refused(pixel_dataset, make_trainee, tmp_path, setting):
    make_trainee(pixel_dataset).save_pretrained(tmp_path)
    config = PreTrainedConfig.from_pretrained(tmp_path)
    [(name, value)] = setting.items()
    setattr(config, name, value)
    with pytest.raises(ValueError, match=rf"was trained with {name}=\d+, got {value}; leave --policy.{name} out"):
        QwenVLAPolicy.from_pretrained(tmp_path, config=config)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
def test_trains_and_acts_on_a_gpu(pixel_dataset, make_trainee, make_batch, quantization):
    policy = make_trainee(pixel_dataset, device="cuda", dtype="bfloat16", quantization=quantization)
    with torch.autocast("cuda", torch.bfloat16):
        loss, _ = policy(make_batch(pixel_dataset, policy, [0, 12]))
    loss.backward()
    assert loss.isfinite()
    observations = [{k: v.cuda() if k != "task" else v for k, v in o.items()} for o in episode(6, 2)]
    actions = [policy.select_action(o) for o in observations]
    assert torch.stack(actions).isfinite().all()


def test_a_single_batch_is_overfitted(feature_dataset, make_trainee, make_batch):
    policy = make_trainee(feature_dataset, expert_layers=4, expert_width=128, num_inference_steps=20)
    batch = make_batch(feature_dataset, policy, list(range(8)))
    groups = policy.get_optim_params()
    optimizer = torch.optim.AdamW(groups)
    steps = 1200
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [2e-3] * len(groups), total_steps=steps)
    losses = []
    for _ in range(steps):
        loss, _ = policy(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    assert sum(losses[-50:]) / 50 < 0.02
    real = ~batch["action_is_pad"]
    error = (policy.predict_action_chunk(batch) - batch[ACTION]).abs()[real]
    assert error.mean() < 0.1


def test_policy_without_a_camera_is_refused(pixel_dataset, make_config):
    config = make_config()
    config.input_features = {
        OBS_STATE: make_policy(make_config(), ds_meta=pixel_dataset.meta).config.robot_state_feature
    }
    with pytest.raises(ValueError, match=r"at least one camera.*observation.state"):
        make_policy(config, ds_meta=pixel_dataset.meta)


@pytest.fixture(scope="module")
def two_camera_dataset(tmp_path_factory) -> LeRobotDataset:
    """No state, no instruction, two cameras of different shape."""
    features = {
        LEFT: {"dtype": "image", "shape": (64, 64, 3), "names": ["height", "width", "channels"]},
        WIDE: {"dtype": "image", "shape": (32, 128, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (2,), "names": None},
    }
    root = tmp_path_factory.mktemp("data") / "two"
    dataset = LeRobotDataset.create("tests/two", fps=10, features=features, root=root, use_videos=False)
    for i in range(4):
        frame = {LEFT: np.full((64, 64, 3), 9 * i, np.uint8), WIDE: np.full((32, 128, 3), 7 * i, np.uint8)}
        dataset.add_frame({**frame, "action": np.full(2, i, np.float32), "task": ""})
    dataset.save_episode()
    dataset.finalize()
    return dataset


LEFT, WIDE = "observation.images.left", "observation.images.wide"


@pytest.mark.parametrize("pooling", ["none", "average", "learned"])
@pytest.mark.parametrize("mode", ["per_frame", "joint"])
def test_trains_and_acts_on_any_dataset(two_camera_dataset, make_trainee, make_batch, mode, pooling):
    policy = make_trainee(two_camera_dataset, frame_encoding=mode, token_pooling=pooling)
    loss, _ = policy(make_batch(two_camera_dataset, policy, [0, 3]))
    loss.backward()
    steps = [{LEFT: torch.rand(2, 3, 64, 64), WIDE: torch.rand(2, 3, 32, 128)} for _ in range(5)]
    noise = torch.randn(2, 6, 2)
    for step in steps:
        cached = policy.predict_action_chunk(step, noise=noise)
    frames = {camera: torch.stack([steps[i][camera] for i in (0, 2, 4)], dim=1) for camera in (LEFT, WIDE)}
    torch.testing.assert_close(cached, policy.predict_action_chunk(frames, noise=noise), atol=1e-4, rtol=0)


def test_a_camera_missing_at_inference_is_left_out_with_a_warning(two_camera_dataset, make_trainee, caplog):
    policy = make_trainee(two_camera_dataset)
    observation_module._warn_of_missing.cache_clear()  # another test may have been warned
    noise, left = torch.randn(1, 6, 2), torch.rand(1, 3, 64, 64)
    chunks = []
    for others in ({}, {WIDE: torch.rand(1, 3, 32, 128)}, {WIDE: torch.rand(1, 3, 32, 128)}):
        policy.reset()
        chunks.append(policy.predict_action_chunk({LEFT: left, **others}, noise=noise))
    assert caplog.text.count("observation.images.wide is missing; deciding without it") == 1
    assert not torch.equal(chunks[0], chunks[1])
    assert not torch.equal(chunks[1], chunks[2])
    with pytest.raises(ValueError, match=r"no picture: got \['task'\], the policy looks at .*left.*wide"):
        policy.predict_action_chunk({"task": ["go"]}, noise=noise)


def test_a_policy_trained_jointly_acts_per_frame_too(pixel_dataset, make_trainee, tmp_path):
    make_trainee(pixel_dataset, frame_encoding="joint").save_pretrained(tmp_path)
    config = PreTrainedConfig.from_pretrained(tmp_path)
    config.frame_encoding = "per_frame"
    policy = QwenVLAPolicy.from_pretrained(tmp_path, config=config)
    frames = {**episode(1, 2)[0], SCREEN: torch.rand(2, 3, 3, 64, 64)}
    noise, texts = torch.randn(2, 6, 5), [text for text in frames["task"] for _ in range(3)]
    chunk = policy.predict_action_chunk(frames, noise=noise)
    alone = policy.backbone.encode(frames[SCREEN].view(6, 1, 3, 64, 64), texts).view(2, 3, -1, 64)
    words = policy.backbone.words(frames["task"], "cpu")
    expected = policy.model.sample(Features({SCREEN: alone}, words), frames[OBS_STATE], noise)
    torch.testing.assert_close(chunk, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mode", ["per_frame", "joint"])
@pytest.mark.parametrize("caching", ["lazy", "eager"])
def test_when_and_how_frames_are_encoded_changes_no_action(pixel_dataset, make_trainee, mode, caching):
    policy = make_trainee(pixel_dataset, frame_encoding=mode, frame_caching=caching, n_action_steps=3)
    observations, noise = episode(steps=10, batch=2), torch.randn(2, 6, 5)
    for step, observation in enumerate(observations):
        action = policy.select_action(observation, noise=noise)
        if step % 3 == 0:
            frames = [observations[max(0, step + offset)][SCREEN] for offset in (-4, -2, 0)]
            chunk = policy.predict_action_chunk({**observation, SCREEN: torch.stack(frames, dim=1)}, noise=noise)
        torch.testing.assert_close(action, chunk[:, step % 3], atol=1e-4, rtol=0)


def test_guidance_of_one_is_no_guidance_and_more_follows_the_instruction_further(pixel_dataset, make_trainee):
    policy = make_trainee(pixel_dataset, instruction_dropout=0.1, num_inference_steps=1)
    observation, noise = episode(1, 2)[0], torch.randn(2, 6, 5)
    frames = {**observation, SCREEN: observation[SCREEN][:, None].repeat(1, 3, 1, 1, 1)}

    def chunk(scale: float, task: list[str]) -> torch.Tensor:
        policy.config.guidance_scale = scale
        return policy.predict_action_chunk({**frames, "task": task}, noise=noise)

    told = chunk(1.0, observation["task"])
    policy.config.guidance_scale = 0.0  # nothing of the instruction
    untold = policy.predict_action_chunk(frames, noise=noise)
    torch.testing.assert_close(chunk(3.0, observation["task"]), untold + 3 * (told - untold), atol=1e-4, rtol=0)
    assert (told - untold).abs().max() > 1e-4
    policy.config.guidance_scale = 3.0
    policy.reset()
    torch.testing.assert_close(
        policy.predict_action_chunk(observation, noise=noise), chunk(3.0, observation["task"]), atol=1e-4, rtol=0
    )


def test_hidden_instructions_do_not_reach_the_loss(pixel_dataset, make_trainee, make_batch):
    policy = make_trainee(pixel_dataset, instruction_dropout=0.5).train()
    batch = {**make_batch(pixel_dataset, policy, [1] * 32), "index": torch.arange(32)}
    losses = []
    for task in ("go", "stop it"):
        batch["task"] = [task] * 32
        policy.config.batches_trained = 0
        losses.append(policy(batch, reduction="none")[0])
    assert 0.2 < (losses[0] - losses[1]).abs().lt(1e-6).float().mean() < 0.8


def test_guidance_without_hidden_instructions_in_training_is_refused(pixel_dataset, make_trainee):
    with pytest.raises(ValueError, match=r"guidance_scale=2\.0 needs a policy trained with instructions hidden"):
        make_trainee(pixel_dataset, guidance_scale=2.0)
