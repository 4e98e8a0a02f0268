"""What the hands did over time, apart from any rows: where the mouse was, and when each key and button was down."""

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from recordings_to_lerobot.actions.channels import BUTTON_BITS, SIDE_BUTTON_BITS
from recordings_to_lerobot.alignment.timeline import NS_PER_S
from recordings_to_lerobot.recordings.events import ABSENT, Events

# A key by its virtual-key code, or a button by its bit.
Control = tuple[Literal["key", "button"], int]

# Windows repeats a key that is held, unless another goes down; nobody holds one for so long to the end of a recording.
STUCK_NS = 30 * NS_PER_S

_NEVER_NS = np.iinfo(np.int64).max


@dataclass(frozen=True)
class MousePath:
    """The way of the mouse; index 0 stands for the time before any mouse event, at the centre of the canvas."""

    event_ns: np.ndarray  # (M,) int64
    position_px: np.ndarray  # (1 + M, 2) float64, as recorded: beyond the canvas, too
    size_px: tuple[int, int]

    @classmethod
    def of(cls, events: Events, event_ns: np.ndarray, size_px: tuple[int, int]) -> Self:
        """The way that the events at `event_ns` (E,) describe on a canvas of (width, height)."""
        has_position = events.is_kind("mousemove") | events.is_kind("mouseclick")
        recorded = np.stack([events.x_px, events.y_px], axis=1)[has_position]  # (M, 2)
        centre = [[(size_px[0] - 1) / 2, (size_px[1] - 1) / 2]]
        return cls(event_ns[has_position], np.concatenate([centre, recorded]), size_px)

    @property
    def position(self) -> np.ndarray:
        """In canvas units: (0, 0) is the first pixel, (1, 1) the last; beyond is outside.  # (1 + M, 2) float64"""
        return self.position_px / (np.array(self.size_px) - 1)

    @property
    def travelled(self) -> np.ndarray:
        """Length of the way so far, in canvas units.  # (1 + M,) float64"""
        steps = np.linalg.norm(np.diff(self.position, axis=0), axis=1)  # (M,)
        # Nobody knows where the mouse came from to its first recorded position.
        steps[:1] = 0
        return np.append(0.0, np.cumsum(steps))

    def index_before(self, time_ns: np.ndarray) -> np.ndarray:
        """Index into the positions of what holds just before each time (N,).  # (N,)"""
        return np.searchsorted(self.event_ns, time_ns, side="left")


@dataclass(frozen=True)
class Switch:
    """One key or button over time: what S events say of it, and T presses that are over at once."""

    event: np.ndarray  # (S,) int64, which events
    time_ns: np.ndarray  # (S,) int64
    is_down: np.ndarray  # (S,) bool
    tap_ns: np.ndarray  # (T,) int64

    def held_at(self, time_ns: np.ndarray) -> np.ndarray:
        """Whether it is held, judged by the events before each time.  # (N,) → (N,) bool"""
        return np.append(False, self.is_down)[np.searchsorted(self.time_ns, time_ns, side="left")]

    def pressed_within(self, start_ns: np.ndarray, end_ns: np.ndarray) -> np.ndarray:
        """Whether any event says that it is down in [start, end).  # (N,) bool"""
        presses_ns = np.sort(np.concatenate([self.time_ns[self.is_down], self.tap_ns]))
        return np.searchsorted(presses_ns, end_ns, side="left") > np.searchsorted(presses_ns, start_ns, side="left")

    def released(self) -> Self:
        """The same, but it comes up a nanosecond after its last event."""
        event, time_ns = np.append(self.event, self.event[-1]), np.append(self.time_ns, self.time_ns[-1] + 1)
        return replace(self, event=event, time_ns=time_ns, is_down=np.append(self.is_down, False))

    def presses(self) -> np.ndarray:
        """When it was down, as [start, end); a tap lasts a nanosecond.  # (P, 2) int64

        Auto-repeat and releases of what is not pressed make no press; what is never released stays pressed.
        """
        changes = np.flatnonzero(np.diff(self.is_down, prepend=False))
        starts = self.time_ns[changes[::2]]
        ends = np.append(self.time_ns[changes[1::2]], _NEVER_NS)[: len(starts)]
        taps = np.stack([self.tap_ns, self.tap_ns + 1], axis=1)
        return np.concatenate([np.stack([starts, ends], axis=1), taps])


def follow_switches(events: Events, event_ns: np.ndarray, until_ns: int | None = None) -> dict[Control, Switch]:
    """Every key that the events at `event_ns` (E,) name, and all buttons.

    With `until_ns`, the end of the recording, those that are stuck come up as soon as they are last heard of.
    """
    followed: dict[Control, Switch] = {}
    none = np.empty(0, dtype=np.int64)
    is_down, is_key = events.is_kind("keydown"), events.is_kind("keydown") | events.is_kind("keyup")
    for code in np.unique(events.vk[is_key]).tolist():
        says = np.flatnonzero(is_key & (events.vk == code))
        followed["key", code] = Switch(says, event_ns[says], is_down[says], none)
    # Moves that carry `buttons` say of all what is held; clicks are taps.
    holds = events.is_kind("mousemove") & (events.buttons != ABSENT)
    goes_down, is_click = events.is_kind("buttondown"), events.is_kind("mouseclick")
    changes = goes_down | events.is_kind("buttonup")
    for bit in (BUTTON_BITS | SIDE_BUTTON_BITS).values():
        is_meant = events.buttons & bit != 0  # (E,)
        says = np.flatnonzero(holds | (changes & is_meant))
        is_down = (is_meant & holds) | goes_down
        followed["button", bit] = Switch(says, event_ns[says], is_down[says], event_ns[is_click & is_meant])
    if until_ns is not None:
        for control in stuck(followed, until_ns):
            followed[control] = followed[control].released()
    return followed


def stuck(followed: dict[Control, Switch], until_ns: int) -> list[Control]:
    """Those that never come up, and of which nothing is heard for `STUCK_NS` before the end of the recording."""
    return [
        control
        for control, switch in followed.items()
        if len(switch.is_down) and switch.is_down[-1] and until_ns - switch.time_ns[-1] > STUCK_NS
    ]


def presses(events: Events, event_ns: np.ndarray) -> dict[Control, np.ndarray]:
    """When each key and button that was down was so: (P, 2) int64 [start, end)."""
    found = {control: switch.presses() for control, switch in follow_switches(events, event_ns).items()}
    return {control: intervals for control, intervals in found.items() if len(intervals)}


def pressed_within(intervals: np.ndarray, edges_ns: np.ndarray) -> np.ndarray:
    """How many presses (P, 2) overlap each interval between successive edges (K,).  # (K - 1,) int64"""
    starts, ends = np.sort(intervals, axis=0).T
    begun = np.searchsorted(starts, edges_ns[1:], side="left")
    over = np.searchsorted(ends, edges_ns[:-1], side="right")
    return begun - over
