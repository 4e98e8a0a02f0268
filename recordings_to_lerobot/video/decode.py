"""Decodes a video frame by frame."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from recordings_to_lerobot.recordings.validation import RecordingError

REEXPORT = "re-export the recording"


def iterate_frames(path: Path, frame_index: np.ndarray) -> Iterator[av.VideoFrame]:
    """Decodes the frames whose index in presentation order is in `frame_index` (N,), which never decreases.

    Yields:
        One frame for each index; a repeated index yields the same frame again.

    Raises:
        RecordingError: A frame cannot be decoded, or the video ends too early.
    """
    assert np.all(frame_index[1:] >= frame_index[:-1])
    row = 0
    decoded = 0
    try:
        with open_video(path) as container:
            # Without threads for frames: episodes are worked on side by side, and with them, damaged pictures come
            # out in another way each time.
            for frame in container.decode(video=0):
                if row == len(frame_index):
                    return
                if frame_index[row] == decoded:
                    while row < len(frame_index) and frame_index[row] == decoded:
                        yield frame
                        row += 1
                decoded += 1
    except av.FFmpegError as error:
        raise RecordingError(f"{path}: frame {decoded} cannot be decoded ({error.strerror}); {REEXPORT}") from None
    if row < len(frame_index):
        raise RecordingError(f"{path}: frame {frame_index[row]} cannot be decoded; {REEXPORT}")


def scale(frame: av.VideoFrame, size_px: tuple[int, int], pix_fmt: str | None = None) -> av.VideoFrame:
    """The picture at another size (width, height): each pixel the mean of the area it covers."""
    width_px, height_px = size_px
    return frame.reformat(width=width_px, height=height_px, format=pix_fmt, interpolation="AREA")


def open_video(path: Path) -> av.container.InputContainer:
    """Opens a video to read."""
    # Titles and the like may be in any encoding; nothing here reads them.
    return av.open(path, metadata_errors="replace")
