import json
import subprocess
import sys

import pytest
import torch

from lerobot_qwenvla.tools.memory.peaks import LiveBytes, Measured, Training, decision_peak_bytes

# Large enough for the resident memory of a process to tell; what is measured has libraries' working memory in it.
LARGE = {"expert_width": 512, "expert_layers": 4, "expert_heads": 8, "image_size": 256, "chunk_size": 50}
TOLERANCE = 0.15


def test_a_storage_counts_once_and_until_it_is_freed():
    kept = torch.zeros(100)
    with LiveBytes([kept]) as memory:
        temporary = torch.ones(1000)
        view = temporary[:10]
        del temporary, view
        result = kept + 1
    assert memory.live_bytes == 400 + result.nbytes
    assert memory.peak_bytes == 400 + 4000


MEASURE = """
import json, sys
from dataclasses import asdict
from lerobot.configs import PreTrainedConfig
import lerobot_qwenvla
from lerobot_qwenvla.tools.memory.peaks import Training, measure
print(json.dumps(asdict(measure(Training(PreTrainedConfig.from_pretrained(sys.argv[1]), batch_size=16)))))
"""


def test_computed_peaks_are_those_measured(seeing_config, tmp_path):
    config = seeing_config(**LARGE)
    config.save_pretrained(tmp_path)
    # In a process of its own, as the command: what other tests have freed would hide what is allocated.
    run = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    training, measured = Training(config, batch_size=16), Measured(**json.loads(run.stdout.splitlines()[-1]))
    assert training.peak_bytes() == pytest.approx(measured.training_peak_bytes, rel=TOLERANCE)
    assert measured.decision_peak_bytes == pytest.approx(decision_peak_bytes(config), abs=30e6)


def test_the_peak_grows_with_the_batch_and_falls_with_checkpointing(seeing_config):
    config = seeing_config(**LARGE, num_frames=1)
    checkpointed = seeing_config(**LARGE, num_frames=1, gradient_checkpointing=True)
    small, large, less = (Training(c, n).peak_bytes() for c, n in ((config, 16), (config, 32), (checkpointed, 32)))
    assert small < large
    assert less < large


def test_losses_by_kind_of_action_do_not_disturb(seeing_config):
    named = seeing_config(action_names=["mouse.x", "mouse.y", "button.left", "key.w", "key.a"])
    assert Training(named, 1).peak_bytes() == Training(seeing_config(), 1).peak_bytes()
