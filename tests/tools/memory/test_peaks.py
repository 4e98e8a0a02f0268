import pytest
import torch

from lerobot_qwenvla.tools.memory.peaks import LiveBytes, Training, decision_peak_bytes, measure

LARGE = {"expert_width": 256, "expert_layers": 4, "expert_heads": 8, "image_size": 128, "chunk_size": 50}
# 4-bit weights are a little smaller or larger as they are packed; all else is exact.
TOLERANCE = 0.002


def test_a_storage_counts_once_and_until_it_is_freed():
    kept = torch.zeros(100)
    with LiveBytes([kept]) as memory:
        temporary = torch.ones(1000)
        view = temporary[:10]
        del temporary, view
        result = kept + 1
    assert memory.live_bytes == 400 + result.nbytes
    assert memory.peak_bytes == 400 + 4000


@pytest.mark.parametrize(
    "overrides",
    [{}, {"quantization": "4bit", "dtype": "bfloat16", "frame_encoding": "joint"}, {"gradient_checkpointing": True}],
)
def test_computed_peaks_are_those_measured(seeing_config, overrides):
    training = Training(seeing_config(**LARGE, **overrides), batch_size=8)
    measured = measure(training)
    assert training.peak_bytes() == pytest.approx(measured.training_peak_bytes, rel=TOLERANCE)
    assert decision_peak_bytes(training.config) == pytest.approx(measured.decision_peak_bytes, rel=TOLERANCE)


def test_the_peak_grows_with_the_batch_and_falls_with_checkpointing(seeing_config):
    config = seeing_config(**LARGE, num_frames=1)
    checkpointed = seeing_config(**LARGE, num_frames=1, gradient_checkpointing=True)
    small, large, less = (Training(c, n).peak_bytes() for c, n in ((config, 16), (config, 32), (checkpointed, 32)))
    assert small < large
    assert less < large


def test_losses_by_kind_of_action_do_not_disturb(seeing_config):
    named = seeing_config(action_names=["mouse.x", "mouse.y", "button.left", "key.w", "key.a"])
    assert Training(named, 1).peak_bytes() == Training(seeing_config(), 1).peak_bytes()
