"""The frames at which the clock is read that recordings of Miniworld are made by."""

from collections.abc import Iterator

import numpy as np

from lerobot_qwenvla.devices.clock import QPC_FREQ, ticks_of_ms
from lerobot_qwenvla.miniworld.environment import FPS

FRAME_PERIOD_TICKS = QPC_FREQ // FPS
# A screen recorder is late or early by some milliseconds, but not by more and more.
JITTER_MS = 2.0
MAX_JITTER_MS = 8.0
LONGEST_UPTIME_DAYS = 30


def frame_ticks(rng: np.random.Generator) -> Iterator[int]:
    """Capture times of successive frames, strictly increasing, without end."""
    boot_offset = int(rng.integers(LONGEST_UPTIME_DAYS * 24 * 3600 * QPC_FREQ))
    nominal = boot_offset + FRAME_PERIOD_TICKS
    while True:
        jitter_ms = np.clip(rng.normal(scale=JITTER_MS), -MAX_JITTER_MS, MAX_JITTER_MS)
        yield nominal + ticks_of_ms(jitter_ms)
        nominal += FRAME_PERIOD_TICKS
