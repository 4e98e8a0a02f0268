"""The raw layout of one recorded episode: its four files, what each must hold, and how to read them.

video.mp4      the screen, one picture per tick of frame_ts.bin
frame_ts.bin   one little-endian int64 tick of the recorder's clock per video frame, never decreasing
events.jsonl   one mouse or keyboard event per line, stamped with the same clock
meta.json      frame rate, canvas size, clock frequency, and whatever else the recorder noted
"""

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, ValidationError

from recordings_to_lerobot.events import Events, read_events
from recordings_to_lerobot.validation import RecordingError, StrictModel, explain, require_file

VIDEO_FILE = "video.mp4"
FRAME_TICKS_FILE = "frame_ts.bin"
EVENTS_FILE = "events.jsonl"
META_FILE = "meta.json"

EPISODE_FILES = (VIDEO_FILE, FRAME_TICKS_FILE, EVENTS_FILE, META_FILE)

T = TypeVar("T")


class Meta(StrictModel):
    """`meta.json`; keys it does not name are kept as they are."""

    model_config = ConfigDict(extra="allow")

    fps: Annotated[float, Field(gt=0, le=1000)]
    canvas_w: Annotated[int, Field(ge=2)]
    canvas_h: Annotated[int, Field(ge=2)]
    qpc_freq: Annotated[int, Field(gt=0)]
    offset_ms: float = 0
    task: str | None = None
    session: str | int | None = None  # recordings of one session belong together


@dataclass(frozen=True)
class Recording:
    """One episode without its pictures."""

    folder: Path
    meta: Meta
    frame_ticks: np.ndarray  # (F,) int64, one per video frame
    events: Events


def find_episodes(input_dir: Path) -> list[Path]:
    """Folders at or below `input_dir` that hold any file of the layout, in natural order; hidden ones are left out.

    Raises:
        RecordingError: There is no such folder, or no recording in it.
    """
    if not input_dir.is_dir():
        raise RecordingError(f"{input_dir}: no such folder; give the folder of your recordings as --input")
    folders = []
    for root, subfolders, files in os.walk(input_dir):
        # Hidden folders are what a recorder is still writing, or was killed over.
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        if not set(EPISODE_FILES).isdisjoint(files):
            folders.append(Path(root))
    if not folders:
        wanted = ", ".join(EPISODE_FILES)
        raise RecordingError(f"{input_dir}: no recordings found; an episode is a folder with {wanted}")
    return sorted(folders, key=lambda folder: [_natural_key(part) for part in folder.parts])


def _natural_key(name: str) -> list[tuple[int, str]]:
    # Alternates text and digits, so that episode_2 comes before episode_10.
    return [(int(part) if i % 2 else 0, part) for i, part in enumerate(re.split(r"([0-9]+)", name))]


def read_recording(folder: Path, sort_events: bool = False) -> Recording:
    """Reads and checks everything of an episode but its video.

    Raises:
        RecordingError: With the problems of all files, not only of the first bad one.
    """
    problems: list[str] = []

    def attempt(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except RecordingError as error:
            problems.extend(error.problems)
            return None

    attempt(lambda: require_file(folder / VIDEO_FILE))
    frame_ticks = attempt(lambda: read_frame_ticks(folder / FRAME_TICKS_FILE))
    events = attempt(lambda: read_events(folder / EVENTS_FILE, sort_events))
    meta = attempt(lambda: read_meta(folder / META_FILE))
    if problems:
        raise RecordingError(*problems)
    assert meta is not None and frame_ticks is not None and events is not None
    return Recording(folder, meta, frame_ticks, events)


def read_meta(path: Path) -> Meta:
    """Reads `meta.json`.

    Raises:
        RecordingError: It is missing, broken, or a field is missing or of the wrong type or range.
    """
    require_file(path)
    try:
        # The standard parser, because it can be told to refuse numbers that no JSON file may hold.
        fields = json.loads(path.read_bytes().decode("utf-8-sig"), parse_float=_finite, parse_constant=_finite)
        # JSON may escape halves of characters, which no file and no table takes.
        json.dumps(fields, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        remedy = "correct it or re-export the recording"
        raise RecordingError(f"{path}:{error.lineno}: broken JSON: {error.msg}; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: unreadable: {error}; write it as UTF-8 JSON") from None
    try:
        return Meta.model_validate(fields)
    except ValidationError as error:
        raise RecordingError(f"{path}: {explain(error)}; correct meta.json") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def read_frame_ticks(path: Path) -> np.ndarray:
    """Reads `frame_ts.bin`.  # (F,) int64, never decreasing

    Raises:
        RecordingError: It is missing or empty, ends inside a tick, or goes back.
    """
    size_bytes = require_file(path)
    if size_bytes % 8:
        raise RecordingError(
            f"{path}: {size_bytes} bytes, not a multiple of 8 (an int64 per frame); re-export the recording"
        )
    ticks = np.fromfile(path, dtype="<i8").astype(np.int64)
    backwards = np.flatnonzero(ticks[1:] < ticks[:-1])
    if backwards.size:
        frame = int(backwards[0]) + 1
        # Python integers, since the difference of two int64 may not fit one.
        step = int(ticks[frame - 1]) - int(ticks[frame])
        raise RecordingError(
            f"{path}: frame {frame}: tick {ticks[frame]} goes back by {step} ticks; re-export the recording"
        )
    return ticks
