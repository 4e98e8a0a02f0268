"""What the hands did over time, apart from any rows: where the mouse was, and when anything was pressed."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from recordings_to_lerobot.actions.channels import BUTTON_BITS
from recordings_to_lerobot.recordings.events import ABSENT, Events

_NEVER_NS = np.iinfo(np.int64).max


@dataclass(frozen=True)
class MousePath:
    """The way of the mouse in canvas units: (0, 0) is the first pixel, (1, 1) the last; beyond is outside.

    Index 0 stands for the time before any mouse event, at the centre.
    """

    event_ns: np.ndarray  # (M,) int64
    position: np.ndarray  # (1 + M, 2) float64
    travelled: np.ndarray  # (1 + M,) float64, length of the way so far

    @classmethod
    def of(cls, events: Events, event_ns: np.ndarray, size_px: tuple[int, int]) -> Self:
        """The way that the events at `event_ns` (E,) describe on a canvas of (width, height)."""
        has_position = events.is_kind("mousemove") | events.is_kind("mouseclick")
        recorded = np.stack([events.x_px, events.y_px], axis=1)[has_position]  # (M, 2)
        position = np.concatenate([[[0.5, 0.5]], recorded / (np.array(size_px) - 1)])
        steps = np.linalg.norm(np.diff(position, axis=0), axis=1)  # (M,)
        # Nobody knows where the mouse came from to its first recorded position.
        steps[:1] = 0
        return cls(event_ns[has_position], position, np.append(0.0, np.cumsum(steps)))

    def index_before(self, time_ns: np.ndarray) -> np.ndarray:
        """Index into `position` and `travelled` of what holds just before each time (N,).  # (N,)"""
        return np.searchsorted(self.event_ns, time_ns, side="left")


def presses(events: Events, event_ns: np.ndarray) -> dict[tuple[str, int], np.ndarray]:
    """When each key and button was down: ("key", virtual-key code) or ("button", bit) → (P, 2) int64 [start, end).

    Auto-repeat and releases of what is not pressed make no press; a click is one of a nanosecond; what is never
    released stays pressed.
    """
    found = {}
    is_down, is_key = events.is_kind("keydown"), events.is_kind("keydown") | events.is_kind("keyup")
    for code in np.unique(events.vk[is_key]).tolist():
        says = is_key & (events.vk == code)
        found["key", code] = _intervals(event_ns[says], is_down[says])
    says = events.is_kind("mousemove") & (events.buttons != ABSENT)
    is_click = events.is_kind("mouseclick")
    for bit in BUTTON_BITS.values():
        held = _intervals(event_ns[says], events.buttons[says] & bit != 0)
        click_ns = event_ns[is_click & (events.buttons & bit != 0)]
        clicks = np.stack([click_ns, click_ns + 1], axis=1)
        found["button", bit] = np.concatenate([held, clicks])
    return {name: intervals for name, intervals in found.items() if len(intervals)}


def _intervals(time_ns: np.ndarray, is_down: np.ndarray) -> np.ndarray:
    """From what is said (S,) at each time (S,) to the intervals of being down.  # (P, 2) int64"""
    changes = np.flatnonzero(np.diff(is_down, prepend=False))
    ends = np.append(time_ns[changes[1::2]], _NEVER_NS)
    starts = time_ns[changes[::2]]
    return np.stack([starts, ends[: len(starts)]], axis=1)


def pressed_within(intervals: np.ndarray, edges_ns: np.ndarray) -> np.ndarray:
    """How many presses (P, 2) overlap each interval between successive edges (K,).  # (K - 1,) int64"""
    starts, ends = np.sort(intervals, axis=0).T
    begun = np.searchsorted(starts, edges_ns[1:], side="left")
    over = np.searchsorted(ends, edges_ns[:-1], side="right")
    return begun - over
