import numpy as np
import pytest

from lerobot_qwenvla.miniworld.picture_match import match_pictures, psnr_db


def moving_squares(n=6):
    """A bright square that moves on.  # (n, 32, 32, 3) uint8"""
    pictures = np.full((n, 32, 32, 3), 40, dtype=np.uint8)
    for i in range(n):
        pictures[i, 8:16, 4 * i : 4 * i + 8] = 220
    return pictures


def lossy(pictures, seed=0):
    noise = np.random.default_rng(seed).normal(scale=4, size=pictures.shape)
    return np.clip(pictures + noise, 0, 255).astype(np.uint8)


def test_equal_pictures_have_no_noise():
    assert psnr_db(moving_squares()[0], moving_squares()[0]) == np.inf


def test_one_level_of_difference_everywhere_is_48_db():
    picture = moving_squares()[0]
    assert psnr_db(picture + 1, picture) == pytest.approx(48.13, abs=0.01)


def test_lossy_pictures_in_their_places_match():
    match = match_pictures(lossy(moving_squares()), moving_squares())
    assert match.psnr_db.min() > 30
    assert not match.misplaced.any()


@pytest.mark.parametrize("shift", [-1, 1])
def test_pictures_that_are_one_frame_off_are_misplaced(shift):
    pictures, wanted = (moving_squares()[1:], moving_squares()[:-1])[::shift]
    # At one end there is no neighbour to which the picture could belong.
    n_misplaced = match_pictures(lossy(pictures), wanted).misplaced.sum()
    assert n_misplaced == len(wanted) - 1


def test_neighbours_that_look_alike_are_not_told_apart():
    wanted = np.repeat(moving_squares(1), 3, axis=0)
    assert not match_pictures(lossy(wanted), wanted).misplaced.any()
