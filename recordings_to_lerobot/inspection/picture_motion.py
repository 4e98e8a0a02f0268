"""How the pictures of an episode move: how much, how abruptly, and which way the view turns."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from recordings_to_lerobot.alignment.screen_change import STEPS_PER_LEVEL
from recordings_to_lerobot.video.block_luma import GRID

# Pictures transformed at a time.
_BATCH = 256


@dataclass(frozen=True)
class PictureMotion:
    """Motion between K pictures."""

    change: np.ndarray  # (K - 1,) levels from picture i to i + 1
    jerk: np.ndarray  # (K - 2,) levels by which picture i + 2 is not where i and i + 1 lead
    turn: np.ndarray  # (K - 1, 2) blocks by which the view moves right and down from picture i to i + 1


class MotionMeter:
    """Measures the motion between successive pictures, of which it holds a few hundred at a time."""

    def __init__(self):
        self._pictures: list[np.ndarray] = []
        self._parts = [(np.empty(0), np.empty(0), np.empty((0, 2)))]

    def add(self, picture: np.ndarray) -> None:
        """Takes the next picture (B,), as `block_luma` gives it."""
        self._pictures.append(picture)
        if len(self._pictures) == _BATCH + 2:
            self._measure()
            del self._pictures[:_BATCH]

    def _measure(self) -> None:
        levels = np.stack(self._pictures).astype(np.float32) / STEPS_PER_LEVEL
        step = np.diff(levels, axis=0)
        change = np.abs(step[:_BATCH]).mean(axis=1)
        self._parts.append((change, np.abs(np.diff(step, axis=0)).mean(axis=1), _turn(levels[: _BATCH + 1])))

    def motion(self) -> PictureMotion:
        """Motion between all pictures; no more can be added."""
        if len(self._pictures) > 1:
            self._measure()
        self._pictures = []
        return PictureMotion(*(np.concatenate(parts) for parts in zip(*self._parts, strict=True)))


def picture_motion(luma: Iterable[np.ndarray]) -> PictureMotion:
    """Motion between successive pictures (B,), as `block_luma` gives them."""
    meter = MotionMeter()
    for picture in luma:
        meter.add(picture)
    return meter.motion()


def _turn(levels: np.ndarray) -> np.ndarray:
    """Shift between successive pictures (K, B) by phase correlation.  # (K - 1, 2)"""
    # The borders of a picture do not move, and would vote for standing still.
    window = np.hanning(GRID + 2)[1:-1]
    pictures = levels.reshape(-1, GRID, GRID)
    pictures = (pictures - pictures.mean(axis=(1, 2), keepdims=True)) * np.outer(window, window)
    spectrum = np.fft.fft2(pictures)
    cross = np.conj(spectrum[:-1]) * spectrum[1:]
    size = np.abs(cross)
    # Between phase correlation, in which noise counts as much as texture, and the plain one.
    match = np.fft.ifft2(cross / (size + size.mean(axis=(1, 2), keepdims=True) + 1e-9)).real
    i = np.arange(len(match))
    y, x = np.divmod(match.reshape(len(match), GRID * GRID).argmax(axis=1), GRID)
    shift_x = x + _peak_between(match[i, y, x - 1], match[i, y, x], match[i, y, (x + 1) % GRID])
    shift_y = y + _peak_between(match[i, y - 1, x], match[i, y, x], match[i, (y + 1) % GRID, x])
    # What shifts by more than half the picture to one side has shifted by less to the other.
    return (np.stack([shift_x, shift_y], axis=1) + GRID / 2) % GRID - GRID / 2


def _peak_between(before: np.ndarray, peak: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where the parabola through three neighbours has its maximum, relative to the middle one."""
    curvature = before - 2 * peak + after
    return np.where(curvature < 0, 0.5 * (before - after) / np.where(curvature < 0, curvature, -1), 0)
