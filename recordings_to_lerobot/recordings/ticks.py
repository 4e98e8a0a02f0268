"""`frame_ts.bin`: when each frame of the video was captured."""

from pathlib import Path

import numpy as np

from recordings_to_lerobot.recordings.validation import RecordingError, require_file


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
