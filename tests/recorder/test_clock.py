from itertools import islice

import numpy as np

from lerobot_qwenvla.devices.clock import QPC_FREQ
from lerobot_qwenvla.recorder.clock import FRAME_PERIOD_TICKS, frame_ticks


def ticks(seed, n=2000):
    return np.array(list(islice(frame_ticks(np.random.default_rng(seed)), n)))


def test_frames_come_every_100_ms_give_or_take_some():
    period_ms = np.diff(ticks(0)) * 1000 / QPC_FREQ
    assert period_ms.min() > 80
    assert period_ms.max() < 120
    assert 1 < period_ms.std() < 5


def test_jitter_does_not_add_up():
    nominal = ticks(0)[0] + np.arange(2000) * FRAME_PERIOD_TICKS
    assert np.abs(ticks(0) - nominal).max() * 1000 / QPC_FREQ <= 16


def test_the_counter_runs_since_boot():
    first = {ticks(seed, 1)[0] for seed in range(5)}
    assert len(first) == 5
    assert min(first) > 60 * QPC_FREQ
