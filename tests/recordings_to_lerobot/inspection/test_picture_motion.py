import numpy as np
import pytest

from recordings_to_lerobot.inspection.picture_motion import picture_motion
from recordings_to_lerobot.video.block_luma import GRID

# Moves right and down, in blocks, with a rest and a turn.
STEPS = np.array([[0, 0], [2, 0], [2, 0], [2, 0], [-3, 1], [-3, 1], [0, 0], [0, -4]])


def scrolling(steps: np.ndarray, seed: int = 0) -> np.ndarray:
    """Pictures of a smooth texture, each shifted by a step (K - 1, 2) from the one before."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.fft2(rng.normal(size=(GRID, GRID)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(GRID), np.fft.fftfreq(GRID)))
    texture = np.fft.ifft2(spectrum * np.exp(-30 * frequency**2)).real
    texture = 30000 + 8000 * texture / texture.std()
    places = np.concatenate([[[0, 0]], np.cumsum(steps, axis=0)])
    return np.stack([np.roll(texture, (y, x), axis=(0, 1)).ravel() for x, y in places]).clip(0, 65535).astype(np.uint16)


def test_turns_are_found_with_their_direction():
    np.testing.assert_allclose(picture_motion(scrolling(STEPS)).turn, STEPS, atol=0.5)


def test_change_and_jerk_tell_moving_from_changing_how():
    motion = picture_motion(scrolling(STEPS))
    assert motion.change[0] == motion.change[6] == 0
    assert motion.change[1] > 1
    rests = picture_motion(scrolling(np.zeros((4, 2), dtype=int)))
    assert not rests.change.any() and not rests.jerk.any() and not rests.turn.any()


@pytest.mark.parametrize("n_pictures", [1, 2, 3, 257, 258, 259, 600])
def test_batches_leave_no_seam(n_pictures):
    steps = np.random.default_rng(1).integers(-3, 4, size=(n_pictures - 1, 2))
    motion = picture_motion(scrolling(steps))
    assert motion.turn.shape == (n_pictures - 1, 2)
    assert motion.change.shape == (n_pictures - 1,)
    assert motion.jerk.shape == (max(0, n_pictures - 2),)
    np.testing.assert_array_equal(motion.change == 0, ~steps.any(axis=1))
