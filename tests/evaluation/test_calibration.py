import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerobot_qwenvla.evaluation.calibration import best_threshold, reliability


def test_reliability_counts_how_often_a_value_comes_true():
    predicted = np.array([-0.2, 0.05, 0.31, 0.39, 1.0, 1.7], dtype=np.float32)
    pressed = np.array([False, True, False, True, True, True])
    curve = reliability(predicted, pressed)
    assert curve.predicted == pytest.approx([0.025, 0.35, 1.0])
    assert curve.observed == [0.5, 0.5, 1.0]
    assert curve.steps == [2, 2, 2]


def test_best_threshold_by_hand():
    # At 0.3 and above three of four are right and none is missed; at 0.7 one is missed: F1 of 6/7 and 4/5.
    threshold = best_threshold(np.array([0.9, 0.7, 0.4, 0.3, 0.1]), np.array([True, True, False, True, False]))
    assert threshold.value == 0.3
    assert threshold.f1 == pytest.approx(6 / 7)


def test_equal_values_are_pressed_together():
    threshold = best_threshold(np.array([0.5, 0.5, 0.5]), np.array([True, False, False]))
    assert threshold == (0.5, 0.5)


def test_a_channel_that_is_never_pressed_has_no_threshold():
    assert best_threshold(np.array([0.5]), np.array([False])) is None


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=1))
def test_no_threshold_is_better_than_the_best(steps):
    predicted, pressed = map(np.array, zip(*steps, strict=True))
    best = best_threshold(predicted, pressed)
    scores = [
        2 * (pressed & (predicted >= value)).sum() / ((predicted >= value).sum() + pressed.sum()) for value in predicted
    ]
    assert best is None or best.f1 == pytest.approx(max(scores))
