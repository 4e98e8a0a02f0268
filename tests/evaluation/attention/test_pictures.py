import numpy as np

from lerobot_qwenvla.evaluation.attention.pictures import DARKEST, film_frame, spotlight


def test_a_picture_is_bright_where_the_attention_is():
    shares = np.zeros((4, 4))
    shares[0, 3] = 0.5
    lit = spotlight(np.ones((64, 64, 3)), shares, 0.5)
    assert lit[0, -1].tolist() == [1, 1, 1]
    np.testing.assert_allclose(lit[-1, 0], DARKEST)


def test_frames_of_a_decision_are_lit_together():
    shares = np.stack([np.full((2, 2), 0.1), np.full((2, 2), 0.2)])
    film = film_frame(np.ones((2, 31, 31, 3)), shares)
    assert film.shape[0] % 2 == film.shape[1] % 2 == 0
    half = film.shape[1] // 2
    assert film[0, 0, 0] < film[0, half + 9, 0] == 255
