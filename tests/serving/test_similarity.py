"""What counts as a change: the largest of any number of the state and any block of a picture."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerobot_qwenvla.serving.similarity import difference
from lerobot_qwenvla.serving.wire.messages import Observation


def observation(height: int = 64, width: int = 64, seed: int = 0) -> Observation:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Observation(0, 0.0, False, "go", {"screen": picture}, np.zeros(3, np.float32))


def with_picture(base: Observation, change) -> Observation:
    picture = base.images["screen"].copy()
    change(picture)
    return replace(base, images={"screen": picture})


def test_the_same_is_no_change():
    assert difference(observation(), observation()) == 0


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 70), (7, 9), (1, 1), (480, 640)])
def test_black_and_white_are_all_the_range(height, width):
    black = with_picture(observation(height, width), lambda picture: picture.fill(0))
    white = with_picture(black, lambda picture: picture.fill(255))
    assert difference(black, white) == difference(white, black) == 1


def test_a_small_thing_that_moves_is_a_change():
    def cursor(picture):
        picture[40:48, 40:48] = 255 - picture[40:48, 40:48]

    base = observation(384, 384)
    moved = with_picture(base, cursor)
    assert difference(base, moved) > 0.05
    assert np.abs(base.images["screen"].astype(int) - moved.images["screen"]).mean() / 255 < 0.001


def test_a_key_is_a_change_as_large_as_its_range():
    assert difference(observation(), replace(observation(), state=np.array([0, 2, 0], np.float32))) == 1


def test_another_instruction_is_another_observation():
    assert difference(observation(), replace(observation(), instruction="stop")) == 1


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 5))
def test_blocks_are_means_of_what_is_looked_at(height, width, seed):
    one, other = observation(height, width, seed), observation(height, width, seed + 1)
    a, b = (each.images["screen"][::2, ::2].astype(float) for each in (one, other))
    change = np.abs(a - b) / 255
    blocks = [change[y : y + 8, x : x + 8].mean() for y in range(0, len(a), 8) for x in range(0, a.shape[1], 8)]
    assert difference(one, other) == pytest.approx(max(blocks))
