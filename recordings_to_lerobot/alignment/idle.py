"""Stretches of an episode in which nobody does anything and nothing happens, and which of their rows to keep.

Dropping such rows changes no label of those that stay: no event lies in them, so the first row of a stretch tells
all that its other rows would.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from recordings_to_lerobot.actions.channels import MOUSE_CHANNELS
from recordings_to_lerobot.alignment.labels import Labels
from recordings_to_lerobot.alignment.options import IdleMode
from recordings_to_lerobot.alignment.screen_change import CHANGE_LEVELS, largest_change
from recordings_to_lerobot.alignment.timeline import NS_PER_S, Timeline
from recordings_to_lerobot.recordings.events import KNOWN_KINDS, Events


@dataclass(frozen=True)
class Stretch:
    """Rows start_row to stop_row - 1."""

    start_row: int
    stop_row: int


def find_idle(labels: Labels, events: Events, luma: Iterable[np.ndarray], idle_s: float) -> list[Stretch]:
    """Idle stretches of at least `idle_s` seconds; `luma` has the blocks (B,) of each row's picture."""
    has_event = rows_with_events(events, labels.event_ns, labels.timeline)
    return idle_stretches(labels.action, has_event, luma, labels.timeline, idle_s)


def rows_with_events(events: Events, event_ns: np.ndarray, timeline: Timeline) -> np.ndarray:
    """Rows in whose interval an event of a known kind falls.  # (N,) bool"""
    known_ns = event_ns[events.kind < len(KNOWN_KINDS)]
    return np.searchsorted(known_ns, timeline.end_ns) > np.searchsorted(known_ns, timeline.start_ns)


def idle_stretches(
    action: np.ndarray, has_event: np.ndarray, luma: Iterable[np.ndarray], timeline: Timeline, idle_s: float
) -> list[Stretch]:
    """Runs of at least `idle_s` seconds of rows without event, with nothing held, that look as their first row does.

    Compared with the first picture and not the one before, so that what creeps is seen to move.

    Args:
        action: (N, C) float32, mouse channels first.
        has_event: (N,) bool.
        luma: N times (B,) uint16, as `block_luma` gives it; only two are held at a time.
        timeline: N rows.
        idle_s: More than 0.
    """
    quiet = ~has_event & ~action[:, len(MOUSE_CHANNELS) :].any(axis=1)  # (N,)
    begins = np.zeros(len(quiet), dtype=bool)  # (N,)
    start, first = 0, np.empty(0)
    for row, picture in enumerate(luma):
        goes_on = row > 0 and quiet[row] and quiet[start]
        if not (goes_on and largest_change(picture, first) <= CHANGE_LEVELS):
            begins[row] = True
            start, first = row, picture
    starts = np.flatnonzero(begins)
    stops = np.append(starts[1:], len(quiet))
    lasts_ns = timeline.end_ns[stops - 1] - timeline.start_ns[starts]
    is_idle = quiet[starts] & (lasts_ns >= round(idle_s * NS_PER_S))
    return [Stretch(start, stop) for start, stop in np.stack([starts, stops], axis=1)[is_idle].tolist()]


def kept_rows(timeline: Timeline, stretches: Sequence[Stretch], mode: IdleMode) -> np.ndarray:
    """Which of N rows stay: of each stretch all ("keep"), the first ("trim"), or one a second ("thin").  # (N,) bool"""
    kept = np.ones(len(timeline), dtype=bool)
    for stretch in stretches:
        rows = slice(stretch.start_row, stretch.stop_row)
        match mode:
            case "keep":
                pass
            case "trim":
                kept[rows] = False
                kept[stretch.start_row] = True
            case "thin":
                second = (timeline.start_ns[rows] - timeline.start_ns[stretch.start_row]) // NS_PER_S
                kept[rows] = np.diff(second, prepend=-1) > 0
            case _:
                assert_never(mode)
    return kept
