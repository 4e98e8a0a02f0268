"""owl-control (Wayfarer Labs): `recording.mp4` and `inputs.csv` in a folder, with `metadata.json` beside them.

Times are seconds since 1970. Frames have none: the video begins at `VIDEO_START` and runs at a constant rate.
Movements are relative only.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from recordings_to_lerobot.importers.neutral import (
    BUTTON_BIT_OF_VK,
    LIMIT_NS,
    NS_PER_S,
    WHEEL_UNITS_PER_NOTCH,
    InputEvent,
)
from recordings_to_lerobot.recordings.validation import RecordingError, explain

VIDEO_FILE = "recording.mp4"
INPUTS_FILE = "inputs.csv"
METADATA_FILE = "metadata.json"

KeyCode = Annotated[int, Field(ge=0, le=255)]
Count = Annotated[int, Field(ge=-(2**31), lt=2**31)]


class _Held(BaseModel):
    keyboard: list[KeyCode] = []
    mouse: list[KeyCode] = []


class _Start(BaseModel):
    """What was held when the recorder began; older versions write an empty list."""

    model_config = ConfigDict(extra="ignore")

    inputs: _Held = _Held()


_ARGS: dict[str, TypeAdapter] = {
    "START": TypeAdapter(_Start | tuple[()]),
    "MOUSE_MOVE": TypeAdapter(tuple[Count, Count]),
    "MOUSE_BUTTON": TypeAdapter(tuple[KeyCode, bool]),
    "SCROLL": TypeAdapter(tuple[Count]),
    "KEYBOARD": TypeAdapter(tuple[KeyCode, bool]),
}
_HEADER = "timestamp,event_type,event_args"

Anchor = Literal["VIDEO_START", "START"]


@dataclass(frozen=True)
class Row:
    """A line of `inputs.csv`."""

    line: int
    ns: int
    kind: str
    args: Any  # of the type that belongs to the kind; the text for a kind without one


def read_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of `inputs.csv`.

    Raises:
        RecordingError: A row lacks a field, or its time or arguments are no such thing.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            row = _parse_row(f"{path}:{number}", number, line)
            if row is not None:
                yield row


def _parse_row(place: str, number: int, line: bytes) -> Row | None:
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise RecordingError(f"{place}: is not UTF-8; re-export the recording") from None
    if not text or (number == 1 and text == _HEADER):
        return None
    # Not a job for a CSV parser: some versions do not double the quotes inside of the arguments, or leave out
    # those around them, and the arguments hold commas.
    fields = text.split(",", maxsplit=2)
    if len(fields) < 3:
        raise RecordingError(f"{place}: {text[:80]!r} has not the three fields {_HEADER}; re-export the recording")
    timestamp, kind, args = fields
    if args.startswith('"') and args.endswith('"') and len(args) > 1:
        args = args[1:-1].replace('""', '"')
    adapter = _ARGS.get(kind)
    try:
        return Row(number, seconds_to_ns(timestamp), kind, adapter.validate_json(args) if adapter else args)
    except ValidationError as error:
        raise RecordingError(f"{place}: {kind}: {explain(error)}; re-export the recording") from None
    except ValueError as error:
        raise RecordingError(f"{place}: {error}; re-export the recording") from None


def seconds_to_ns(text: str) -> int:
    """Seconds, in decimals, as nanoseconds.

    Raises:
        ValueError: It is no number, or lies more than a century away.
    """
    try:
        ns = int(Decimal(text) * NS_PER_S)
    except (InvalidOperation, OverflowError, ValueError):
        raise ValueError(f"{text[:40]!r} is no time in seconds") from None
    if abs(ns) >= LIMIT_NS:
        raise ValueError(f"the time {text[:40]} s lies more than a century away")
    return ns


class InputReader:
    """Turns rows into events, and finds when the video began."""

    def __init__(self) -> None:
        self.video_start_ns: int | None = None
        self.repairs: Counter[str] = Counter()
        self._start_ns: int | None = None

    def events(self, rows: Iterable[Row]) -> Iterator[InputEvent]:
        """Yields the events; once all are read, `video_start_ns` is known, unless nothing says it."""
        for row in rows:
            number, ns, args = row.line, row.ns, row.args
            match row.kind:
                case "START":
                    self._start_ns = ns
                    # What is held already has no event of its own.
                    for code in args.inputs.keyboard if args else ():
                        yield InputEvent(ns, "keydown", number, vk=code)
                    for code in args.inputs.mouse if args else ():
                        yield from _button(ns, number, code, True)
                case "VIDEO_START":
                    self.video_start_ns = ns
                case "MOUSE_MOVE":
                    yield InputEvent(ns, "mousedelta", number, dx=args[0], dy=args[1])
                case "MOUSE_BUTTON":
                    yield from _button(ns, number, *args)
                case "SCROLL":
                    yield InputEvent(ns, "wheel", number, dx=0, dy=args[0] / WHEEL_UNITS_PER_NOTCH)
                case "KEYBOARD":
                    yield InputEvent(ns, "keydown" if args[1] else "keyup", number, vk=args[0])
                case "END" | "VIDEO_END" | "HOOK_START":
                    pass
                case _:
                    yield InputEvent(ns, row.kind, number, raw=args)
        if self.video_start_ns is None and self._start_ns is not None:
            # Versions before VIDEO_START; the recorder began a little before the video.
            self.video_start_ns = self._start_ns
            self.repairs["video_start_from_recorder_start"] += 1


def _button(ns: int, number: int, code: int, is_down: bool) -> Iterator[InputEvent]:
    bit = BUTTON_BIT_OF_VK.get(code)
    if bit is None:
        yield InputEvent(ns, f"MOUSE_BUTTON {code}", number)
    else:
        yield InputEvent(ns, "buttondown" if is_down else "buttonup", number, button=bit)


def read_metadata(path: Path) -> dict[str, Any]:
    """Reads `metadata.json`, which says nothing that is needed and may be missing.

    Raises:
        RecordingError: It is broken.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
        # JSON may escape halves of characters and hold numbers that no file and no table takes.
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: unreadable ({error}); correct it, or remove the file") from None
    if not isinstance(content, dict):
        raise RecordingError(f"{path}: is no JSON object; correct it, or remove the file")
    return content
