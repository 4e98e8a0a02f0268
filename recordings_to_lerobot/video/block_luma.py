"""Pictures as a coarse grid of block means."""

from pathlib import Path

import numpy as np

from recordings_to_lerobot.video.decode import iterate_frames

# Blocks in each direction.
GRID = 32


def block_luma(path: Path, frame_index: np.ndarray) -> np.ndarray:
    """Mean luma of every block of the frames at `frame_index` (N,), which never decreases.

    Decodes the video once and holds one picture at a time; the result takes 2 KiB a frame.

    Returns:
        (N, GRID * GRID) uint16, in steps of 1/256 level.

    Raises:
        RecordingError: A frame cannot be decoded.
    """
    luma = np.empty((len(frame_index), GRID, GRID), dtype=np.uint16)
    for row, frame in enumerate(iterate_frames(path, frame_index)):
        # Scaled while still in the decoder's own planes; the scaler's "area" is the mean over each block.
        blocks = frame.reformat(width=GRID, height=GRID, format="gray16le", interpolation="AREA")
        luma[row] = blocks.to_ndarray()
    return luma.reshape(len(frame_index), GRID * GRID)
