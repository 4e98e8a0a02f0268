"""How much the screen changes from picture to picture, seen through a coarse grid of block means."""

import numpy as np

# Block means are kept in steps of 1/256 level: whole levels would add their own rounding to small changes.
STEPS_PER_LEVEL = 256

# Two pictures with no block further apart than this are the same, in luma levels of 0 to 255.
#
# Measured as the largest change of any block from the first picture of a stretch. Unmoving scenes, including the
# key frame every 2 s that re-encodes them and the second after a movement in which an encoder still sharpens:
#   the 83 frames that the Miniworld recordings hold twice (x264 crf 18)   at most 1.9
#   Miniworld, text, dark gradients, foliage, noise; x264 crf 18           at most 1.0
#   the same, x264 crf 28; after the first second                          at most 2.2; at most 3.4 before
#   SVT-AV1 crf 30 and 35, x265 crf 28, VP9 crf 32                         at most 2.2
# Movement:
#   every one of 3924 other frames of the Miniworld recordings             at least 6.1
#   a square of 4×4 px and 50 levels, or 3×3 px and 100, at 384×384        seen at its first or second step
#   a square of 6×6 px and 100 levels at 1280×720, crf 18 and 28           seen within 6 steps
CHANGE_LEVELS = 3.0


def largest_change(luma: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Change of the block that differs most, in levels; (…, B) arrays of `block_luma` that broadcast.  # (…,)"""
    # Unsigned integers wrap around below zero.
    return np.abs(luma.astype(np.float32) - other.astype(np.float32)).max(axis=-1) / STEPS_PER_LEVEL
