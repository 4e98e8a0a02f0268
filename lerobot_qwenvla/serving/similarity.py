"""Whether two observations are so alike that one decision does for both."""

import numpy as np

from lerobot_qwenvla.serving.wire.messages import Observation

BLOCK_PX = 16
# In both directions every second pixel is looked at.
STRIDE = 2


def difference(one: Observation, other: Observation) -> float:
    """The largest change, as a share of the full range: of a number of the state, or of a block of a picture.

    The mean over a whole picture would not notice a small thing that moves. 1 where the instruction is another.
    """
    if one.instruction != other.instruction:
        return 1.0
    changes = [np.abs(one.state - other.state).max(initial=0) / 2]  # numbers of mouse and keys go from -1 to 1
    changes += [_picture_difference(image, other.images[camera]) for camera, image in one.images.items()]
    return float(max(changes))


def _picture_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Largest mean absolute difference in a block of (H, W, 3) bytes, as a share of 255."""
    a, b = (image[::STRIDE, ::STRIDE] for image in (one, other))
    change = np.maximum(a, b) - np.minimum(a, b)  # stays uint8
    size = BLOCK_PX // STRIDE
    rows, columns = (range(0, length, size) for length in change.shape[:2])
    by_row = np.add.reduceat(change, rows, axis=0, dtype=np.uint32)
    sums = np.add.reduceat(by_row, columns, axis=1).sum(-1)  # (H', W')
    heights, widths = (
        np.diff([*starts, length]) for starts, length in zip((rows, columns), change.shape, strict=False)
    )
    return float((sums / (heights[:, None] * widths * change.shape[2])).max() / 255)
