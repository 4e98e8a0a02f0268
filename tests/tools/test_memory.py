import sys

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.factory import make_policy

from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools.memory import check
from lerobot_qwenvla.tools.memory.changes import fitting_changes
from lerobot_qwenvla.tools.memory.computed import Training, decision_peak_bytes
from lerobot_qwenvla.tools.memory.hollow import hollow_policy
from lerobot_qwenvla.tools.memory.live_bytes import LiveBytes
from lerobot_qwenvla.tools.memory.measured import measure, verify_weights
from lerobot_qwenvla.tools.memory.report import needed_bytes
from lerobot_qwenvla.tools.parameters import components, parameter_report

# Large enough for the resident memory of a process to tell; what is measured has libraries' working memory in it.
LARGE = {"expert_width": 512, "expert_layers": 4, "expert_heads": 8, "image_size": 256, "chunk_size": 50}
TOLERANCE = 0.15


@pytest.fixture
def seeing_config(make_config):
    def make(**overrides):
        config = make_config(**overrides)
        config.input_features = {
            "observation.images.screen": PolicyFeature(FeatureType.VISUAL, (3, 64, 64)),
            "observation.state": PolicyFeature(FeatureType.STATE, (5,)),
        }
        config.output_features = {"action": PolicyFeature(FeatureType.ACTION, (5,))}
        return config

    return make


@pytest.mark.parametrize("quantization", ["none", "4bit", "8bit"])
@pytest.mark.parametrize("vision_quantization", ["none", "4bit"])
def test_parts_are_counted_as_they_are_loaded(seeing_config, quantization, vision_quantization):
    config = seeing_config(quantization=quantization, vision_quantization=vision_quantization, dtype="bfloat16")
    loaded = QwenVLAPolicy(config)
    assert components(hollow_policy(config)) == components(loaded)
    assert verify_weights(loaded) == 28 * (quantization == "4bit") + 24 * (vision_quantization == "4bit")


def test_four_bit_weights_are_counted_as_stored(seeing_config):
    plain, packed = (
        {part.name: part for part in components(hollow_policy(seeing_config(quantization=q)))} for q in ("none", "4bit")
    )
    linear = 4 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128)  # layers × (query, key, value, out; gate, up, down)
    scales = linear // 64
    nested = 4 * (4 * (1 + 16 + 256) * 7 + 4 * 7)  # per Linear: a scale, two code books and an offset
    saved = plain["text layers"].stored_bytes - packed["text layers"].stored_bytes
    assert packed["text layers"].parameters == plain["text layers"].parameters
    assert saved == 4 * linear - linear // 2 - scales - nested


def test_weights_that_are_not_four_bit_are_found(seeing_config):
    policy = QwenVLAPolicy(seeing_config(quantization="none"))
    policy.config.quantization = "4bit"
    with pytest.raises(ValueError, match=r"TextLayers\.layers\.0\S* is a Linear with None, must be NF4"):
        verify_weights(policy)


def test_training_on_features_never_holds_the_backbone(seeing_config, feature_dataset, make_config):
    loaded = make_policy(make_config(), ds_meta=feature_dataset.meta)
    assert components(hollow_policy(seeing_config(), precomputed=True)) == components(loaded)
    assert "not loaded" in parameter_report(loaded)


def test_a_storage_counts_once_and_until_it_is_freed():
    kept = torch.zeros(100)
    with LiveBytes([kept]) as memory:
        temporary = torch.ones(1000)
        view = temporary[:10]
        del temporary, view
        result = kept + 1
    assert memory.live_bytes == 400 + result.nbytes
    assert memory.peak_bytes == 400 + 4000


def test_computed_peaks_are_those_measured(seeing_config):
    config = seeing_config(**LARGE)
    training = Training(config, batch_size=16)
    measured = measure(training)
    assert training.peak_bytes() == pytest.approx(measured.training_peak_bytes, rel=TOLERANCE)
    assert measured.decision_peak_bytes == pytest.approx(decision_peak_bytes(config), abs=30e6)


def test_the_peak_grows_with_the_batch_and_falls_with_checkpointing(seeing_config):
    config = seeing_config(**LARGE, num_frames=1)
    checkpointed = seeing_config(**LARGE, num_frames=1, gradient_checkpointing=True)
    small, large, less = (Training(c, n).peak_bytes() for c, n in ((config, 16), (config, 32), (checkpointed, 32)))
    assert small < large
    assert less < large


def test_what_makes_a_run_fit_does(seeing_config):
    training = Training(seeing_config(expert_width=256, image_size=192, num_frames=2), batch_size=32)
    budget = needed_bytes(training.peak_bytes() * 0.9)
    changes = fitting_changes(training, lambda peak: needed_bytes(peak) <= budget)
    assert changes[0].what == "features of qwenvla-cache-features"
    assert "--batch_size=16" in [change.what for change in changes]
    for change in changes:
        assert change.training != training
        assert needed_bytes(change.peak_bytes) <= budget
    assert changes[-1].peak_bytes == changes[-1].training.peak_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy.backbone=nowhere"], "--policy.backbone=nowhere: "),
        (["--policy.quantization=3bit"], "--policy.quantization must be one of none, 4bit, 8bit, got '3bit'"),
        (["--card_gb=0"], "--card_gb must be above 0, got 0"),
        (["--dataset.repo_id=a/b", "--dataset.root=nowhere"], "--dataset.root=nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_clear_line(monkeypatch, tmp_path, backbone_dir, arguments, message):
    monkeypatch.chdir(tmp_path)
    policy = [
        "--policy.type=qwenvla",
        "--policy.device=cpu",
        f"--policy.backbone={backbone_dir}",
        "--policy.vlm_layer=4",
    ]
    monkeypatch.setattr(sys, "argv", ["qwenvla-memory-check", *policy, *arguments])
    with pytest.raises(SystemExit) as exit_:
        check.main()
    assert exit_.value.code.startswith(f"qwenvla-memory-check: {message}")
    assert "\n" not in exit_.value.code
