"""Derives a row's state and action from the raw events once more, and says how.

It shares no code with `state_and_action.py`, so that a row that something else has changed shows.
"""

import bisect
import functools
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from recordings_to_lerobot.actions.channels import ActionSpace
from recordings_to_lerobot.alignment.timeline import NS_PER_MS

Feature = Literal["observation.state", "action"]


@dataclass(frozen=True)
class RawEvent:
    """A line of `events.jsonl`, as the audit keeps it; fields the event does not have are None."""

    line: int
    ns: int
    kind: str
    x_px: float | None
    y_px: float | None
    dx: float | None
    dy: float | None
    buttons: int | None
    vk: int | None
    row: int | None
    is_used: bool
    note: str

    @property
    def place(self) -> str:
        """Where to find it."""
        return f"line {self.line} ({'before the first row' if self.row is None else f'row {self.row}'})"


@dataclass(frozen=True)
class DroppedFrames:
    """Source frames first … last, which no row shows."""

    first: int
    last: int
    note: str


@dataclass(frozen=True)
class ExplainedRow:
    """A row with what fell in it, C channels."""

    frame: int
    source_frame: int
    captured_ns: int
    start_ns: int
    end_ns: int
    state: np.ndarray  # (C,) float32
    action: np.ndarray  # (C,) float32
    events: list[RawEvent]
    dropped_after: list[DroppedFrames]  # between its source frame and that of the next row


@dataclass(frozen=True)
class Reason:
    """Why a channel has its value; `words` go behind "channel = "."""

    feature: Feature
    channel: str
    stored: float  # in the dataset
    derived: float  # from the raw events
    words: str

    @property
    def agrees(self) -> bool:
        """Whether the dataset has what the events say."""
        return np.float32(self.derived) == np.float32(self.stored)


@dataclass(frozen=True)
class Explanation:
    """A row, its neighbours, and a reason for each channel of the row."""

    source: str
    task: str
    channels: tuple[str, ...]
    key_of_code: dict[int, str]
    mouse_scale: float | None  # counts that make 1 in the mouse channels, if they are of a captured mouse
    size_px: tuple[int, int]
    origin_ns: int  # start of the first row, on the recorder's clock
    frame: int
    rows: list[ExplainedRow]
    reasons: list[Reason]

    def ms(self, ns: int) -> str:
        """A moment in milliseconds since the first row."""
        return _format_ms(ns - self.origin_ns)


@dataclass(frozen=True)
class _Sample:
    """An event that says whether a button or key is down; a tap is down and up at once."""

    event: RawEvent
    is_down: bool
    is_tap: bool = False


class Derivation:
    """Derives the values of a row from the raw events, and says how."""

    def __init__(
        self,
        events: list[RawEvent],
        space: ActionSpace,
        mouse_scale: float | None,
        size_px: tuple[int, int],
        origin_ns: int,
    ):
        key_codes = space.key_codes
        self._space = space
        self._mouse_scale = mouse_scale
        self._motions = [event for event in events if event.dx is not None]
        self._size_px = size_px
        self._origin_ns = origin_ns
        self._positions = [event for event in events if event.kind in ("mousemove", "mouseclick")]
        self._samples: dict[str, list[_Sample]] = defaultdict(list)
        key_of_code = {code: name for name, codes in key_codes.items() for code in codes}
        held_codes: set[int] = set()
        for event in _with_releases(events):
            if event.kind == "mouseclick" or (event.kind == "mousemove" and event.buttons is not None):
                is_tap = event.kind == "mouseclick"
                for name, bit in space.button_bits.items():
                    if event.buttons & bit or not is_tap:
                        sample = _Sample(event, bool(event.buttons & bit), is_tap)
                        self._samples[f"button.{name}"].append(sample)
            elif event.kind in ("buttondown", "buttonup"):
                for name, bit in space.button_bits.items():
                    if event.buttons & bit:
                        self._samples[f"button.{name}"].append(_Sample(event, event.kind == "buttondown"))
            elif event.kind in ("keydown", "keyup") and event.vk in key_of_code:
                (held_codes.add if event.kind == "keydown" else held_codes.discard)(event.vk)
                name = key_of_code[event.vk]
                # A key with two codes is down until both are up.
                is_down = not held_codes.isdisjoint(key_codes[name])
                self._samples[f"key.{name}"].append(_Sample(event, is_down))

    def reasons(self, row: ExplainedRow, channels: tuple[str, ...], before_ns: tuple[int, int] | None) -> list[Reason]:
        """A reason for each channel of state and action; `before_ns` is when the row before began and ended."""
        reasons = []
        for index, channel in enumerate(channels):
            device, name = channel.split(".", 1)
            if device == "mouse" and name in ("x", "y"):
                state = self._position(name, row.start_ns)
                action = self._position(name, row.end_ns)
            elif device == "wheel" or (device == "mouse" and self._space.mouse == "relative"):
                state = self._motion(device, name, before_ns)
                action = self._motion(device, name, (row.start_ns, row.end_ns))
            elif name in ("dx", "dy") and device == "mouse":
                state = self._movement(name, before_ns)
                action = self._movement(name, (row.start_ns, row.end_ns))
            else:
                state = self._held(channel, row.start_ns)
                action = self._pressed(channel, row.start_ns, row.end_ns)
            reasons.append(Reason("observation.state", channel, float(row.state[index]), *state))
            reasons.append(Reason("action", channel, float(row.action[index]), *action))
        return sorted(reasons, key=lambda reason: reason.feature != "observation.state")

    def _last_position(self, axis: str, ns: int) -> tuple[float, str, RawEvent | None]:
        """The position on an axis before a moment, how it is written, and the event that set it."""
        count = bisect.bisect_left(self._positions, ns, key=lambda event: event.ns)
        if count == 0:
            centre = (self._size(axis) - 1) / 2
            return centre, f"{centre:g}", None
        event = self._positions[count - 1]
        position = event.x_px if axis == "x" else event.y_px
        return position, f"{position:g}", event

    def _position(self, axis: str, ns: int) -> tuple[float, str]:
        position, shown, event = self._last_position(axis, ns)
        value = 2 * position / (self._size(axis) - 1) - 1
        clipped = min(1.0, max(-1.0, value))
        formula = f"2·{shown}/({self._size(axis)}−1) − 1 = {signed(value)}"
        if clipped != value:
            formula += f", clipped to {signed(clipped)}"
        moment = _format_ms(ns - self._origin_ns)
        if event is None:
            return clipped, f"{formula}: no mouse event before {moment} ms, so it is at the centre"
        return clipped, f"{formula}: last position before {moment} ms is {axis}={shown}, {event.place}"

    def _movement(self, name: str, interval_ns: tuple[int, int] | None) -> tuple[float, str]:
        if interval_ns is None:
            return 0.0, "0: there is no row before the first"
        start_ns, end_ns = interval_ns
        axis = name.removeprefix("d")
        start, start_shown, start_event = self._last_position(axis, start_ns)
        end, end_shown, end_event = self._last_position(axis, end_ns)
        moments = f"{_format_ms(start_ns - self._origin_ns)} to {_format_ms(end_ns - self._origin_ns)} ms"
        if end_event is start_event:
            return 0.0, f"0: no mouse event from {moments}"
        value = (end - start) / (self._size(axis) - 1)
        origin = "the centre" if start_event is None else start_event.place
        return value, (
            f"({end_shown} − {start_shown})/({self._size(axis)}−1) = {signed(value)}: "
            f"from {axis}={start_shown}, {origin}, to {axis}={end_shown}, {end_event.place}"
        )

    def _motion(self, device: str, name: str, interval_ns: tuple[int, int] | None) -> tuple[float, str]:
        """What the captured mouse or the wheel moved in [start, end)."""
        if interval_ns is None:
            return 0.0, "0: there is no row before the first"
        start_ns, end_ns = interval_ns
        kind = "wheel" if device == "wheel" else "mousedelta"
        inside = [event for event in self._motions if event.kind == kind and start_ns <= event.ns < end_ns]
        moments = f"{_format_ms(start_ns - self._origin_ns)} to {_format_ms(end_ns - self._origin_ns)} ms"
        if not inside:
            return 0.0, f"0: no {kind} event from {moments}"
        total = sum(event.dx if name == "dx" else event.dy for event in inside)
        lines = f"line {inside[0].line}" if len(inside) == 1 else f"lines {inside[0].line} to {inside[-1].line}"
        shown = f"{total:g}".replace("-", "−")
        source = f"sum of {name} on {lines}, from {moments}"
        if device == "wheel":
            return total, f"{shown}: {source}"
        assert self._mouse_scale is not None
        value = float(np.float32(total)) / self._mouse_scale
        clipped = min(1.0, max(-1.0, value))
        formula = f"{shown}/{self._mouse_scale:g} = {signed(value)}"
        return clipped, f"{formula}{'' if clipped == value else f', clipped to {signed(clipped)}'}: {source}"

    def _held(self, channel: str, ns: int) -> tuple[float, str]:
        """Whether a button or key is down just before a moment."""
        samples = [sample for sample in self._samples[channel] if sample.event.ns < ns and not sample.is_tap]
        if not samples or not samples[-1].is_down:
            return 0.0, f"0: {f'up since {samples[-1].event.place}' if samples else 'never down before'}"
        first = samples[-1]
        for sample in reversed(samples):
            if not sample.is_down:
                break
            first = sample
        return 1.0, f"1: down since {first.event.place}"

    def _pressed(self, channel: str, start_ns: int, end_ns: int) -> tuple[float, str]:
        """Whether a button or key is down at any moment of [start, end)."""
        held, words = self._held(channel, start_ns)
        inside = [sample for sample in self._samples[channel] if start_ns <= sample.event.ns < end_ns]
        presses = [sample for sample in inside if sample.is_down]
        if not held and not presses:
            return 0.0, words
        if not held:
            first = presses[0]
            words = f"1: {'clicked' if first.is_tap else 'goes down'} on line {first.event.line}"
        releases = [sample for sample in inside if not sample.is_down]
        # A click is over by itself, whatever comes behind it.
        if releases and (held or not all(press.is_tap for press in presses)):
            words += f", up on line {releases[-1].event.line}"
        return 1.0, words

    def _size(self, axis: str) -> int:
        return self._size_px[0 if axis == "x" else 1]


def _with_releases(events: list[RawEvent]) -> list[RawEvent]:
    """The events, and a release right behind the last one of each key and button that the ledger says is stuck."""
    result = []
    for index, event in enumerate(events):
        result.append(event)
        if "released as stuck" not in event.note:
            continue
        if event.vk is not None:
            result.append(replace(event, ns=event.ns + 1, kind="keyup"))
        else:
            assert event.buttons is not None
            later = (other for other in events[index + 1 :] if other.kind in ("buttondown", "buttonup"))
            bits = functools.reduce(lambda bits, other: bits & ~other.buttons, later, event.buttons)
            result.append(replace(event, ns=event.ns + 1, kind="buttonup", buttons=bits))
    return result


def signed(value: float) -> str:
    """A value as it is shown."""
    return f"{value:+.3f}".replace("-", "−")


def _format_ms(ns: int) -> str:
    text = f"{ns / NS_PER_MS:,.3f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")
