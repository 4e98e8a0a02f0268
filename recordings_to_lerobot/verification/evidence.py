"""What the raw files of a recording say by themselves, worked out without the code that converts them.

A second opinion for `episode.py`: events are followed one by one, and presses are spans of time that rows
touch, where the converter samples what is held at each row.
"""

import heapq
import json
import math
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recordings_to_lerobot.actions.channels import ActionSpace
from recordings_to_lerobot.alignment.timeline import NS_PER_MS, NS_PER_S, Timeline
from recordings_to_lerobot.recordings.events import Events

NOTHING = -1
_NEVER_NS = 2**63 - 1
_STUCK_NS = 30 * NS_PER_S
_BITS = (1, 2, 4, 8, 16)
_ROWS_AT_A_TIME = 100_000


@dataclass(frozen=True)
class RawEvents:
    """The E events of a recording in order of time."""

    line: np.ndarray  # (E,) int64, in events.jsonl
    tick: np.ndarray  # (E,) int64
    time_ns: np.ndarray  # (E,) int64, on the clock of the frames
    kind: np.ndarray  # (E,) str
    x_px: np.ndarray  # (E,) float64, NaN without
    y_px: np.ndarray  # (E,) float64
    dx: np.ndarray  # (E,) float64, NaN without
    dy: np.ndarray  # (E,) float64
    buttons: np.ndarray  # (E,) int64, NOTHING without
    vk: np.ndarray  # (E,) int64, NOTHING without
    raw: np.ndarray  # (E,) str, the line of events of unknown kinds, None of others

    def mouse_before(self, time_ns: int, size_px: tuple[int, int]) -> tuple[float, float]:
        """Last position before a time, the centre of the canvas (width, height) before any; in pixels."""
        moves = np.flatnonzero(~np.isnan(self.x_px) & (self.time_ns < time_ns))
        if not moves.size:
            return (size_px[0] - 1) / 2, (size_px[1] - 1) / 2
        return float(self.x_px[moves[-1]]), float(self.y_px[moves[-1]])

    def motion(self, kind: str, timeline: Timeline) -> np.ndarray:
        """What the motions of a kind in the interval of each row add up to.  # (N, 2) float64"""
        sums = np.zeros((len(timeline), 2))
        chosen = np.flatnonzero(self.kind == kind)
        row_of = rows_around(self.time_ns[chosen], timeline)
        for row, dx, dy in zip(row_of, self.dx[chosen], self.dy[chosen], strict=True):
            if row != NOTHING:
                sums[row] += dx, dy
        return sums


def read_raw_events(path: Path, qpc_freq: int, offset_ms: float) -> RawEvents:
    """Reads events that are known to be good; those of one tick stay in the order of their lines."""
    line, tick, time_ns, buttons, vk = (array("q") for _ in range(5))
    x_px, y_px, dx, dy = (array("d") for _ in range(4))
    kind: list[str] = []
    raw: list[str | None] = []
    offset_ns = round(offset_ms * NS_PER_MS)
    with path.open("rb") as file:
        for number, content in enumerate(file, start=1):
            if not (text := content.decode("utf-8-sig").strip()):
                continue
            event = json.loads(text)
            is_mouse = event["kind"] in ("mousemove", "mouseclick")
            is_motion = event["kind"] in ("mousedelta", "wheel")
            is_button = event["kind"] in ("buttondown", "buttonup")
            pressed = event.get("buttons", 1 if event["kind"] == "mouseclick" else None) if is_mouse else None
            pressed = event["button"] if is_button else pressed
            is_known = is_mouse or is_motion or is_button or event["kind"] in ("keydown", "keyup")
            raw.append(None if is_known else text)
            line.append(number)
            tick.append(event["ts"])
            time_ns.append(event["ts"] * NS_PER_S // qpc_freq + offset_ns)
            kind.append(sys.intern(event["kind"]))
            x_px.append(event["x"] if is_mouse else math.nan)
            y_px.append(event["y"] if is_mouse else math.nan)
            dx.append(event["dx"] if is_motion else math.nan)
            dy.append(event["dy"] if is_motion else math.nan)
            buttons.append(NOTHING if pressed is None else pressed)
            vk.append(event["vk"] if event["kind"] in ("keydown", "keyup") else NOTHING)
    order = np.lexsort((line, tick))
    integers = {"line": line, "tick": tick, "time_ns": time_ns, "buttons": buttons, "vk": vk}
    floats = {"x_px": x_px, "y_px": y_px, "dx": dx, "dy": dy}
    return RawEvents(
        **{name: np.array(column, dtype=np.int64)[order] for name, column in integers.items()},
        kind=np.array(kind, dtype=object)[order],
        **{name: np.array(column, dtype=np.float64)[order] for name, column in floats.items()},
        raw=np.array(raw, dtype=object)[order],
    )


def imported_events(events: Events, qpc_freq: int, offset_ms: float) -> RawEvents:
    """The events of another recorder's files, as its importer reads them."""
    offset_ns = round(offset_ms * NS_PER_MS)
    return RawEvents(
        line=events.line,
        tick=events.tick,
        time_ns=np.array([tick * NS_PER_S // qpc_freq + offset_ns for tick in events.tick.tolist()], dtype=np.int64),
        kind=np.array(events.kinds, dtype=object)[events.kind],
        x_px=events.x_px,
        y_px=events.y_px,
        dx=events.dx,
        dy=events.dy,
        buttons=events.buttons,
        vk=events.vk,
        raw=np.array([events.unknown.get(line) for line in events.line.tolist()], dtype=object),
    )


def follow_presses(
    events: RawEvents, space: ActionSpace, until_ns: int | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Follows what is pressed; what is stuck `until_ns` comes up a nanosecond after its last event, if that is given.

    Returns:
        By channel the first and last instant of every time it is down (M, 2) int64, and for each event (E,) bool
        whether it says something about the row in which it lies.
    """
    name_of_code = {code: f"key.{name}" for name, codes in space.key_codes.items() for code in codes}
    channels = (*(f"button.{name}" for name in space.button_bits), *(f"key.{name}" for name in space.key_codes))
    spans = {channel: _Spans() for channel in channels}
    codes_down: set[int] = set()
    n_down: Counter[str] = Counter()  # a key with several codes is down until all are up
    held_bits = 0
    is_used = np.zeros(len(events.tick) + 1, dtype=bool)  # the last stands for releases that nobody recorded
    unrecorded = sorted(_releases(_steps(events), until_ns)) if until_ns is not None else []
    # Of equal times, what was recorded comes first.
    steps = heapq.merge(_steps(events), unrecorded, key=lambda step: step[0])
    for time_ns, kind, buttons, code, i in steps:
        if kind == "mouseclick":
            pressed = [name for name, bit in space.button_bits.items() if buttons & bit]
            for name in pressed:
                spans[f"button.{name}"].tap(time_ns)
            is_used[i] = bool(pressed) or space.mouse != "relative"
        elif kind in ("mousemove", "buttondown", "buttonup"):
            now_held = buttons
            if kind == "mousemove" and buttons == NOTHING:
                now_held = held_bits
            elif kind != "mousemove":
                now_held = held_bits | buttons if kind == "buttondown" else held_bits & ~buttons
            changed = [name for name, bit in space.button_bits.items() if (now_held ^ held_bits) & bit]
            for name in changed:
                spans[f"button.{name}"].press_or_release(time_ns, bool(now_held & space.button_bits[name]))
            held_bits = now_held
            is_used[i] = bool(changed)
            if kind == "mousemove":
                is_used[i] = space.mouse != "relative" or buttons != NOTHING
        elif kind == "mousedelta":
            is_used[i] = space.mouse == "relative"
        elif kind == "wheel":
            is_used[i] = "wheel" in space.extra
        elif code in name_of_code and (code in codes_down) == (kind == "keyup"):
            is_used[i] = True
            name = name_of_code[code]
            codes_down ^= {code}
            n_down[name] += 1 if kind == "keydown" else -1
            if n_down[name] == (1 if kind == "keydown" else 0):
                spans[name].press_or_release(time_ns, kind == "keydown")
    return {channel: found.of_time() for channel, found in spans.items()}, is_used[:-1]


def _releases(steps: Iterable[tuple], until_ns: int) -> list[tuple]:
    """A step up for each key and button that goes down, never comes up, and is silent for long before the end."""
    last: dict[tuple[str, int], tuple[int, bool]] = {}
    for time_ns, kind, buttons, code, _ in steps:
        if kind in ("keydown", "keyup"):
            last["keyup", code] = time_ns, kind == "keydown"
        elif kind in ("buttondown", "buttonup") or (kind == "mousemove" and buttons != NOTHING):
            for bit in _BITS:
                if buttons & bit or kind == "mousemove":
                    last["buttonup", bit] = time_ns, bool(buttons & bit) and kind != "buttonup"
    return [
        (time_ns + 1, kind, which if kind == "buttonup" else NOTHING, which if kind == "keyup" else NOTHING, -1)
        for (kind, which), (time_ns, is_down) in last.items()
        if is_down and until_ns - time_ns > _STUCK_NS
    ]


class _Spans:
    """First and last instants, in 16 bytes a span."""

    def __init__(self):
        self._times = array("q")
        self._open = 0  # where the end of the span goes that has not ended

    def tap(self, time_ns: int) -> None:
        self._times.extend((time_ns, time_ns))

    def press_or_release(self, time_ns: int, is_down: bool) -> None:
        if is_down:
            self._times.extend((time_ns, _NEVER_NS))
            self._open = len(self._times) - 1
        else:
            self._times[self._open] = time_ns

    def of_time(self) -> np.ndarray:
        return np.array(self._times, dtype=np.int64).reshape(-1, 2)


def _steps(events: RawEvents) -> Iterator[tuple]:
    """(time_ns, kind, buttons, vk, index) of all events, of which only some are Python's own objects at a time."""
    columns = (events.time_ns, events.kind, events.buttons, events.vk, np.arange(len(events.tick)))
    for start in range(0, len(events.tick), _ROWS_AT_A_TIME):
        yield from zip(*(column[start : start + _ROWS_AT_A_TIME].tolist() for column in columns), strict=True)


def rows_touched(spans_ns: np.ndarray, start_ns: np.ndarray, until_ns: np.ndarray) -> np.ndarray:
    """Which rows (N,) any span (M, 2) touches.  # (N,) bool

    A row sees the presses before `until_ns`: for an action its end, for a state its start. What is released at
    the very start of a row was still held then.
    """
    first = np.searchsorted(until_ns, spans_ns[:, 0], side="right")  # (M,)
    last = np.searchsorted(start_ns, spans_ns[:, 1], side="right") - 1  # (M,)
    touches = first <= last
    steps = np.zeros(len(start_ns) + 1, dtype=np.int64)
    np.add.at(steps, first[touches], 1)
    np.add.at(steps, last[touches] + 1, -1)
    return np.cumsum(steps[:-1]) > 0


def rows_around(time_ns: np.ndarray, timeline: Timeline) -> np.ndarray:
    """The row in whose interval each time (E,) lies, NOTHING outside of all.  # (E,) int64"""
    row = np.searchsorted(timeline.start_ns, time_ns, side="right") - 1
    return np.where((row >= 0) & (time_ns < timeline.end_ns[row]), row, NOTHING)
