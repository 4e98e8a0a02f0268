"""Pictures as a coarse grid of block means."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recordings_to_lerobot.video.decode import iterate_frames

# Blocks in each direction.
GRID = 32


def block_luma(path: Path, frame_index: np.ndarray) -> Iterator[np.ndarray]:
    """Mean luma of every block of the frames at `frame_index` (N,), which never decreases.

    Decodes the video once and holds one picture at a time.

    Yields:
        N times (GRID * GRID,) uint16, in steps of 1/256 level.

    Raises:
        RecordingError: A frame cannot be decoded.
    """
    for frame in iterate_frames(path, frame_index):
        # Scaled while still in the decoder's own planes; the scaler's "area" is the mean over each block.
        blocks = frame.reformat(width=GRID, height=GRID, format="gray16le", interpolation="AREA")
        yield blocks.to_ndarray().ravel()
