"""Stretches of an episode in which nobody does anything and nothing happens, and which of their rows to keep.

Dropping such rows changes no label of those that stay: no event lies in them, so the first row of a stretch tells
all that its other rows would.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from recordings_to_lerobot.actions.channels import MOUSE_CHANNELS
from recordings_to_lerobot.alignment.labels import Labels
from recordings_to_lerobot.alignment.options import IdleMode
from recordings_to_lerobot.alignment.screen_change import CHANGE_LEVELS, largest_change
from recordings_to_lerobot.alignment.timeline import Timeline
from recordings_to_lerobot.recordings.events import KNOWN_KINDS, Events


@dataclass(frozen=True)
class Stretch:
    """Rows start_row to stop_row - 1."""

    start_row: int
    stop_row: int


def find_idle(labels: Labels, events: Events, luma: np.ndarray, fps: float, idle_s: float) -> list[Stretch]:
    """Idle stretches of at least `idle_s` seconds; `luma` (N, B) has the blocks of each row's picture."""
    has_event = rows_with_events(events, labels.event_ns, labels.timeline)
    return idle_stretches(labels.action, has_event, luma, min_rows=max(1, math.ceil(idle_s * fps)))


def rows_with_events(events: Events, event_ns: np.ndarray, timeline: Timeline) -> np.ndarray:
    """Rows in whose interval an event of a known kind falls.  # (N,) bool"""
    known_ns = event_ns[events.kind < len(KNOWN_KINDS)]
    return np.searchsorted(known_ns, timeline.end_ns) > np.searchsorted(known_ns, timeline.start_ns)


def idle_stretches(action: np.ndarray, has_event: np.ndarray, luma: np.ndarray, min_rows: int) -> list[Stretch]:
    """Runs of at least `min_rows` rows without event, with nothing held, that look as their first row does.

    Compared with the first picture and not the one before, so that what creeps is seen to move.

    Args:
        action: (N, C) float32, mouse channels first.
        has_event: (N,) bool.
        luma: (N, B) uint16, as `block_luma` gives it.
        min_rows: At least 1.
    """
    quiet = ~has_event & ~action[:, len(MOUSE_CHANNELS) :].any(axis=1)  # (N,)
    stretches = []
    start = 0
    for row in range(len(quiet) + 1):
        goes_on = row < len(quiet) and quiet[row] and quiet[start]
        if goes_on and largest_change(luma[row], luma[start]) <= CHANGE_LEVELS:
            continue
        if quiet[start:row].all() and row - start >= min_rows:
            stretches.append(Stretch(start, row))
        start = row
    return stretches


def kept_rows(n_rows: int, stretches: Sequence[Stretch], mode: IdleMode, fps: int) -> np.ndarray:
    """Which rows stay: of each stretch all ("keep"), the first ("trim"), or one a second ("thin").  # (N,) bool"""
    kept = np.ones(n_rows, dtype=bool)
    for stretch in stretches:
        match mode:
            case "keep":
                pass
            case "trim":
                kept[stretch.start_row + 1 : stretch.stop_row] = False
            case "thin":
                kept[stretch.start_row : stretch.stop_row] = False
                kept[stretch.start_row : stretch.stop_row : fps] = True
            case _:
                assert_never(mode)
    return kept
