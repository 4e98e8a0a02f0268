"""What was recorded around a row of a dataset, and how it became the row's state and action.

Everything comes from the dataset itself: its rows, its audit tables and `meta/recordings.jsonl`. The values are
derived once more here, so that a row that something else has changed shows.
"""

import bisect
import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recordings_to_lerobot.action_schema import BUTTON_BITS, KEY_CODES, KeyCodes
from recordings_to_lerobot.audit import read_audit
from recordings_to_lerobot.dataset_layout import EVENTS_FOLDER, FRAME_INDEX, FRAMES_FOLDER, INFO_FILE, read_records
from recordings_to_lerobot.timeline import (
    NS_PER_MS,
    Timeline,
    frames_timeline,
    kept_frames,
    resampled_timeline,
    ticks_to_ns,
)
from recordings_to_lerobot.validation import RecordingError

Feature = Literal["observation.state", "action"]


@dataclass(frozen=True)
class RawEvent:
    """A line of `events.jsonl`, as the audit keeps it; fields the event does not have are None."""

    line: int
    ns: int
    kind: str
    x_px: float | None
    y_px: float | None
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
    size_px: tuple[int, int]
    origin_ns: int  # start of the first row, on the recorder's clock
    frame: int
    rows: list[ExplainedRow]
    reasons: list[Reason]

    def ms(self, ns: int) -> str:
        """A moment in milliseconds since the first row."""
        return _format_ms(ns - self.origin_ns)


def explain_row(root: Path, episode: int, frame: int, around: int) -> Explanation:
    """Explains a row of the dataset at `root` and shows `around` more on each side.

    Raises:
        RecordingError: The dataset has no such row, or keeps too little to explain it.
    """
    records = read_records(root)
    if not 0 <= episode < len(records):
        raise RecordingError(f"--episode={episode}: {root} has episodes 0 to {len(records) - 1}")
    if around < 0:
        raise RecordingError(f"--around={around}: give 0 or more rows")
    for folder in (EVENTS_FOLDER, FRAMES_FOLDER):
        if not any((root / folder).glob("*.parquet")):
            raise RecordingError(f"{root / folder}: missing; convert the recordings again to have every event kept")
    record = records[episode]
    info = json.loads((root / INFO_FILE).read_text(encoding="utf-8"))
    columns = [FRAME_INDEX, "observation.state", "action"]
    data = pq.read_table(root / "data", columns=columns, filters=[("episode_index", "=", episode)])
    n_rows = len(data)
    if not 0 <= frame < n_rows:
        raise RecordingError(f"--frame={frame}: episode {episode} of {root} has frames 0 to {n_rows - 1}")
    source_frames = data[FRAME_INDEX].to_numpy()
    frames = read_audit(root, FRAMES_FOLDER, episode)
    all_rows = _rows_before_trimming(record, frames, info["fps"])
    dropped = [row for start, stop in record["dropped_rows"] for row in range(start, stop)]
    kept = np.setdiff1d(np.arange(len(all_rows)), dropped)  # (N,)
    events = _read_events(root, episode, record)
    channels = tuple(info["features"]["action"]["names"])
    key_codes = record["options"]["keys"] or KEY_CODES
    size_px = (record["meta"]["canvas_w"], record["meta"]["canvas_h"])

    frame_notes = frames["note"].to_pylist()
    shown_frames = [*source_frames.tolist(), len(frame_notes)]
    window = range(max(0, frame - around), min(n_rows, frame + around + 1))
    rows = [
        ExplainedRow(
            frame=row,
            source_frame=shown_frames[row],
            captured_ns=int(all_rows.frame_ns[kept[row]]),
            start_ns=int(all_rows.start_ns[kept[row]]),
            end_ns=int(all_rows.end_ns[kept[row]]),
            state=_vector(data["observation.state"][row]),
            action=_vector(data["action"][row]),
            events=[event for event in events if event.row == row],
            dropped_after=_dropped(frame_notes, *shown_frames[row : row + 2]),
        )
        for row in window
    ]
    wanted = rows[window.index(frame)]
    before_ns = int(all_rows.start_ns[kept[frame] - 1]) if kept[frame] else None
    derivation = _Derivation(events, key_codes, size_px, origin_ns=int(all_rows.start_ns[0]))
    return Explanation(
        source=record["source"],
        task=record["task"],
        channels=channels,
        key_of_code={code: name for name, codes in key_codes.items() for code in codes},
        size_px=size_px,
        origin_ns=int(all_rows.start_ns[0]),
        frame=frame,
        rows=rows,
        reasons=derivation.reasons(wanted, channels, before_ns),
    )


def _rows_before_trimming(record: dict, frames: pa.Table, fps: int) -> Timeline:
    """The rows the episode had before idle stretches were taken out."""
    options = record["options"]
    ticks = frames["tick"].to_numpy()  # (F,)
    frame_index = kept_frames(ticks, options["keep_duplicates"])
    make_timeline = resampled_timeline if options["resample"] else frames_timeline
    return make_timeline(frame_index, ticks_to_ns(ticks[frame_index], record["meta"]["qpc_freq"]), fps)


def _read_events(root: Path, episode: int, record: dict) -> list[RawEvent]:
    table = read_audit(root, EVENTS_FOLDER, episode)
    offset_ms = record["options"]["offset_ms"]
    if offset_ms is None:
        offset_ms = record["meta"].get("offset_ms", 0)
    # Not from time_ms, a float: an event exactly on a border must stay on its side of it.
    times_ns = ticks_to_ns(table["tick"].to_numpy(), record["meta"]["qpc_freq"], offset_ms)
    names = {"line": "line", "kind": "kind", "x_px": "x_px", "y_px": "y_px", "buttons": "buttons", "vk": "vk"}
    names |= {"row": "row", "used": "is_used", "note": "note"}
    columns = [table[column].to_pylist() for column in names]
    return [
        RawEvent(ns=ns, **dict(zip(names.values(), values, strict=True)))
        for ns, *values in zip(times_ns.tolist(), *columns, strict=True)
    ]


def _vector(value: pa.Scalar) -> np.ndarray:
    return np.array(value.as_py(), dtype=np.float32)


def _dropped(notes: list[str], after: int, before: int) -> list[DroppedFrames]:
    """Source frames strictly between two, in runs that were dropped for the same reason."""
    runs = [(note, list(run)) for note, run in groupby(range(after + 1, before), key=notes.__getitem__)]
    return [DroppedFrames(run[0], run[-1], note) for note, run in runs]


@dataclass(frozen=True)
class _Sample:
    """An event that says whether a button or key is down; a tap is down and up at once."""

    event: RawEvent
    is_down: bool
    is_tap: bool = False


class _Derivation:
    """Derives the values of a row from the raw events, and says how."""

    def __init__(self, events: list[RawEvent], key_codes: KeyCodes, size_px: tuple[int, int], origin_ns: int):
        self._size_px = size_px
        self._origin_ns = origin_ns
        self._positions = [event for event in events if event.kind in ("mousemove", "mouseclick")]
        self._samples: dict[str, list[_Sample]] = defaultdict(list)
        key_of_code = {code: name for name, codes in key_codes.items() for code in codes}
        held_codes: set[int] = set()
        for event in events:
            if event.kind == "mouseclick" or (event.kind == "mousemove" and event.buttons is not None):
                is_tap = event.kind == "mouseclick"
                for name, bit in BUTTON_BITS.items():
                    if event.buttons & bit or not is_tap:
                        sample = _Sample(event, bool(event.buttons & bit), is_tap)
                        self._samples[f"button.{name}"].append(sample)
            elif event.kind in ("keydown", "keyup") and event.vk in key_of_code:
                (held_codes.add if event.kind == "keydown" else held_codes.discard)(event.vk)
                name = key_of_code[event.vk]
                # A key with two codes is down until both are up.
                is_down = not held_codes.isdisjoint(key_codes[name])
                self._samples[f"key.{name}"].append(_Sample(event, is_down))

    def reasons(self, row: ExplainedRow, channels: tuple[str, ...], before_ns: int | None) -> list[Reason]:
        """A reason for each channel of state and action; `before_ns` is when the row before began."""
        reasons = []
        for index, channel in enumerate(channels):
            device, name = channel.split(".", 1)
            if device == "mouse" and name in ("x", "y"):
                state = self._position(name, row.start_ns)
                action = self._position(name, row.end_ns)
            elif name in ("dx", "dy") and device == "mouse":
                state = self._movement(name, before_ns, row.start_ns)
                action = self._movement(name, row.start_ns, row.end_ns)
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

    def _movement(self, name: str, start_ns: int | None, end_ns: int) -> tuple[float, str]:
        if start_ns is None:
            return 0.0, "0: there is no row before the first"
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


def signed(value: float) -> str:
    """A value as it is shown."""
    return f"{value:+.3f}".replace("-", "−")


def _format_ms(ns: int) -> str:
    text = f"{ns / NS_PER_MS:,.3f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")
