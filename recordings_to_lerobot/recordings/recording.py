"""The raw layout of one recorded episode: its four files, what each must hold, and how to read them.

video.mp4      the screen, one picture per tick of frame_ts.bin
frame_ts.bin   one little-endian int64 tick of the recorder's clock per video frame, never decreasing
events.jsonl   one mouse or keyboard event per line, stamped with the same clock
meta.json      frame rate, canvas size, clock frequency, and whatever else the recorder noted
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recordings_to_lerobot.recordings.events import Events, read_events
from recordings_to_lerobot.recordings.find import EVENTS_FILE, FRAME_TICKS_FILE, META_FILE, VIDEO_FILE
from recordings_to_lerobot.recordings.meta import Meta, read_meta
from recordings_to_lerobot.recordings.ticks import read_frame_ticks
from recordings_to_lerobot.recordings.validation import Problems, require_file


@dataclass(frozen=True)
class TickRepair:
    """What was done to have one tick for each of F frames."""

    is_interpolated: np.ndarray  # (F,) bool, frames whose tick was lost
    n_dropped: int  # ticks whose frame was lost


@dataclass(frozen=True)
class Recording:
    """One episode without its pictures."""

    folder: Path  # where it lies; a file, if another recorder keeps several in a folder
    video: Path
    meta: Meta
    frame_ticks: np.ndarray  # (F,) int64, one per video frame
    events: Events
    tick_repair: TickRepair | None = None
    repairs: dict[str, int] = field(default_factory=dict)  # what had to be mended in another recorder's files


def read_recording(folder: Path, sort_events: bool = False) -> Recording:
    """Reads and checks everything of an episode but its video.

    Raises:
        RecordingError: With the problems of all files, not only of the first bad one.
    """
    problems = Problems()
    problems.attempt(lambda: require_file(folder / VIDEO_FILE))
    frame_ticks = problems.attempt(lambda: read_frame_ticks(folder / FRAME_TICKS_FILE))
    events = problems.attempt(lambda: read_events(folder / EVENTS_FILE, sort_events))
    meta = problems.attempt(lambda: read_meta(folder / META_FILE))
    problems.check()
    assert meta is not None and frame_ticks is not None and events is not None
    return Recording(folder, folder / VIDEO_FILE, meta, frame_ticks, events)
