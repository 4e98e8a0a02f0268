from lerobot_qwenvla.tools.memory.changes import fitting_changes
from lerobot_qwenvla.tools.memory.peaks import Training

SHALLOW = {"vlm_layer": 1, "expert_layers": 1, "quantization": "4bit", "dtype": "bfloat16"}


def test_changes_that_cost_the_least_quality_come_first(seeing_config):
    config = seeing_config(image_size=160, num_frames=2, dequantize=True, **SHALLOW)
    changes = fitting_changes(Training(config, batch_size=8), lambda _: True)
    assert [change.what for change in changes] == [
        "features of qwenvla-precompute-features", "--policy.dequantize=false", "--policy.gradient_checkpointing=true",
        "--batch_size=4", "--policy.vision_quantization=4bit", "--policy.token_pooling=average",
        "--policy.image_size=128", "--policy.num_frames=1",
    ]  # fmt: skip
    assert changes[-1].training.config.num_frames == 1


def test_of_each_kind_the_mildest_that_fits_is_found(seeing_config):
    nothing_else = {"gradient_checkpointing": True, "token_pooling": "average", "instruction_dropout": 0.1}
    config = seeing_config(num_frames=1, vision_quantization="4bit", **nothing_else, **SHALLOW)
    training = Training(config, batch_size=64)
    too_much = training.peak_bytes() // 2
    [change] = fitting_changes(training, lambda peak: peak < too_much)
    size = change.training.batch_size
    assert size < 64 and change.what == f"--batch_size={size}"
    assert (
        change.peak_bytes == Training(config, size).peak_bytes() < too_much <= Training(config, 2 * size).peak_bytes()
    )
    assert fitting_changes(Training(config, batch_size=1), lambda _: False) == []


def test_a_batch_is_split_into_equal_parts_only(seeing_config):
    config = seeing_config(num_frames=1, **SHALLOW)
    changes = fitting_changes(Training(config, batch_size=9), lambda _: True)
    assert "--batch_size=3" in [change.what for change in changes]
