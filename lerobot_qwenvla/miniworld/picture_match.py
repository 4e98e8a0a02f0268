"""Whether a lossy video shows the pictures it should, each in its place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Neighbours that differ less than a good encoder changes a picture cannot be told apart.
SAME_ABOVE_DB = 35.0


@dataclass(frozen=True)
class PictureMatch:
    """How N pictures compare with what they should show.

    Attributes:
        psnr_db: (N,) peak signal-to-noise ratio of each.
        misplaced: (N,) bool, whether it is nearer to what its neighbour should show.
    """

    psnr_db: np.ndarray
    misplaced: np.ndarray


def psnr_db(picture: np.ndarray, wanted: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures, infinite if they are equal."""
    squared_error = np.mean((picture.astype(np.float32) - wanted) ** 2)
    return float(10 * np.log10(255**2 / squared_error)) if squared_error else float("inf")


def match_pictures(pictures: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> PictureMatch:
    """Compare pictures (H, W, 3) uint8 with as many wanted ones, in order."""
    own = np.array([psnr_db(picture, screen) for picture, screen in zip(pictures, wanted, strict=True)])
    misplaced = np.zeros(len(own), dtype=bool)
    for i in range(len(own)):
        for neighbour in (i - 1, i + 1):
            if 0 <= neighbour < len(own) and psnr_db(wanted[neighbour], wanted[i]) < SAME_ABOVE_DB:
                misplaced[i] |= psnr_db(pictures[i], wanted[neighbour]) >= own[i]
    return PictureMatch(own, misplaced)
