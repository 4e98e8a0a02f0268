"""DuckTrack: a video by OBS, `events.jsonl` and `metadata.json` in a folder.

Times are seconds of a clock of their own. The video begins when OBS says that recording has started, and stands
still while it is paused. Positions are points of the screen, of which the video may be a scaled picture.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recordings_to_lerobot.importers.key_names import pynput_key_code
from recordings_to_lerobot.importers.neutral import BUTTON_BITS, NS_PER_S, InputEvent
from recordings_to_lerobot.recordings.validation import RecordingError, explain, require_file

EVENTS_FILE = "events.jsonl"
METADATA_FILE = "metadata.json"

# Exact, where a float would round what is written.
Seconds = Annotated[Decimal, Field(gt=-(10**9), lt=10**9, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class _Line(BaseModel):
    time_stamp: Seconds
    action: str
    x: Coordinate | None = None
    y: Coordinate | None = None
    button: str | None = None
    pressed: bool | None = None
    dx: Coordinate | None = None
    dy: Coordinate | None = None
    name: str | None = None


class _Timings(BaseModel):
    started: list[Seconds] = Field(validation_alias="OBS_WEBSOCKET_OUTPUT_STARTED", min_length=1)
    paused: list[Seconds] = Field(default=[], validation_alias="OBS_WEBSOCKET_OUTPUT_PAUSED")
    resumed: list[Seconds] = Field(default=[], validation_alias="OBS_WEBSOCKET_OUTPUT_RESUMED")


class Metadata(BaseModel):
    """`metadata.json`; keys it does not name are kept as they are."""

    model_config = ConfigDict(extra="allow")

    screen_width: Annotated[int, Field(gt=0)]
    screen_height: Annotated[int, Field(gt=0)]
    obs_record_state_timings: _Timings


_NEEDED: dict[str, tuple[str, ...]] = {
    "move": ("x", "y"),
    "click": ("x", "y", "button", "pressed"),
    "scroll": ("x", "y", "dx", "dy"),
}


@dataclass(frozen=True)
class Logged:
    """A line of `events.jsonl`."""

    number: int
    ns: int
    line: Any


def read_metadata(path: Path) -> tuple[Metadata, dict[str, Any]]:
    """Reads `metadata.json`, as its model and as it is.

    Raises:
        RecordingError: It is missing or broken, or lacks what is needed.
    """
    require_file(path)
    try:
        content = json.loads(path.read_bytes())
        # JSON may escape halves of characters and hold numbers that no file and no table takes.
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: unreadable ({error}); correct it, or re-export the recording") from None
    try:
        return Metadata.model_validate(content), content
    except ValidationError as error:
        raise RecordingError(f"{path}: {explain(error)}; correct it, or re-export the recording") from None


def read_lines(path: Path) -> Iterator[Logged]:
    """Yields the lines of `events.jsonl`.

    Raises:
        RecordingError: A line is broken or lacks a field.
    """
    require_file(path)
    with path.open("rb") as lines:
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            try:
                line = _Line.model_validate_json(text)
            except ValidationError as error:
                raise RecordingError(f"{path}:{number}: {explain(error)}; re-export the recording") from None
            for name in _NEEDED.get(line.action, ()):
                if getattr(line, name) is None:
                    raise RecordingError(f"{path}:{number}: {line.action} lacks `{name}`; re-export the recording")
            yield Logged(number, _ns(line.time_stamp), line)


def _ns(seconds: Decimal) -> int:
    return int(seconds * NS_PER_S)


def video_times(pts_ns: np.ndarray, timings: _Timings) -> tuple[np.ndarray, Counter[str]]:
    """When each frame (F,) was captured, on the clock of the events, and what had to be repaired to say so."""
    start_ns = _ns(timings.started[0])
    times_ns = start_ns + (pts_ns - pts_ns[0])
    repairs: Counter[str] = Counter()
    # A pause that never ended shows no more frames.
    for paused, resumed in zip(sorted(timings.paused), sorted(timings.resumed), strict=False):
        paused_ns, resumed_ns = _ns(paused), _ns(resumed)
        if start_ns <= paused_ns < resumed_ns:
            times_ns = np.where(times_ns >= paused_ns, times_ns + (resumed_ns - paused_ns), times_ns)
            repairs["pauses"] += 1
    return times_ns, repairs


class InputReader:
    """Turns lines into events with positions on the video."""

    def __init__(self, screen_px: tuple[int, int], video_px: tuple[int, int]):
        self._scale_x, self._scale_y = (v / s for v, s in zip(video_px, screen_px, strict=True))

    def events(self, lines: Iterable[Logged]) -> Iterator[InputEvent]:
        """Yields the events."""
        for logged in lines:
            number, ns, line = logged.number, logged.ns, logged.line
            if line.action in _NEEDED:
                yield InputEvent(ns, "mousemove", number, x=line.x * self._scale_x, y=line.y * self._scale_y)
            match line.action:
                case "move":
                    pass
                case "click" if line.button in BUTTON_BITS:
                    kind = "buttondown" if line.pressed else "buttonup"
                    yield InputEvent(ns, kind, number, button=BUTTON_BITS[line.button])
                case "scroll":
                    yield InputEvent(ns, "wheel", number, dx=line.dx, dy=line.dy)
                case "press" | "release" if line.name and (code := pynput_key_code(line.name)) is not None:
                    yield InputEvent(ns, "keydown" if line.action == "press" else "keyup", number, vk=code)
                case _:
                    # A key without a name, as macOS has some, or whatever else is not known.
                    yield InputEvent(ns, " ".join(filter(None, [line.action, line.button, line.name])), number)
