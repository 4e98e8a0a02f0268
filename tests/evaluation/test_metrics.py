import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lerobot_qwenvla.evaluation.metrics import (
    accuracy,
    binary_channels,
    measure,
    presses_per_second,
    squared_error,
    squared_jerk,
)

NAMES = ["mouse.x", "mouse.y", "button.left", "key.w"]
PLAYED = st.tuples(
    arrays(np.float32, (2, 6, 2), elements=st.floats(-1, 1, width=32)), arrays(bool, (2, 6, 2))
).map(lambda parts: np.concatenate([parts[0], parts[1].astype(np.float32)], axis=2))  # fmt: skip


def measured(predicted: np.ndarray, true: np.ndarray, is_pad: np.ndarray | None = None) -> dict:
    is_pad = np.zeros(true.shape[:2], dtype=bool) if is_pad is None else is_pad
    is_binary = np.array([False, False, True, True])
    return measure(predicted, true, is_pad, names=NAMES, is_binary=is_binary, fps=10, normalize=lambda a: 2 * a - 1)


def test_channels_are_binary_by_what_they_take_but_a_mouse_never_is():
    actions = np.array([[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.0, 1.0]])
    assert binary_channels(["mouse.x", "key.w", "button.left", "gripper"], actions).tolist() == [
        False, True, True, False,
    ]  # fmt: skip


def test_errors_by_hand_leave_out_what_is_padding():
    true = np.zeros((1, 3, 2), dtype=np.float32)
    predicted = np.array([[[0.1, 0.2], [0.3, 0.8], [9.0, 9.0]]], dtype=np.float32)
    is_pad = np.array([[False, False, True]])
    assert squared_error(predicted, true, is_pad) == pytest.approx([0.05, 0.34])
    assert accuracy(predicted, true, is_pad).tolist() == [1.0, 0.5]


def test_jerk_is_the_third_difference():
    cubic = np.arange(5.0)[None, :, None] ** 3  # its third difference is 6 everywhere
    assert squared_jerk(cubic, np.zeros((1, 5), dtype=bool)) == 36
    bent = np.array([0, 0, 0, 1, 5.0])[None, :, None]
    assert squared_jerk(bent, np.array([[False] * 4 + [True]])) == 1
    assert squared_jerk(bent[:, :3], np.zeros((1, 3), dtype=bool)) is None
    assert squared_jerk(bent[..., :0], np.zeros((1, 5), dtype=bool)) is None


def test_presses_are_counted_by_the_second():
    taps = np.array([[0, 1, 0, 1, 1]], dtype=np.float32)[..., None]
    assert presses_per_second(taps, np.zeros((1, 5), dtype=bool), fps=10) == 2 / 0.5


def test_measure_by_hand():
    true = np.zeros((1, 4, 4), dtype=np.float32)
    true[0, 2:, 3] = 1  # W from the third step on, and the left button never
    predicted = true.copy()
    predicted[0, :, 0] = 0.5
    predicted[0, 2, 3] = 0.4
    result = measured(predicted, true)
    assert result["mse"] == pytest.approx((4 * 0.25 + 0.36) / 16)
    assert result["mse_normalized"] == pytest.approx(4 * result["mse"])
    assert result["accuracy"] == 0.75  # of W, not of the button too
    assert result["transition_f1"] == 1
    assert result["transitions"] == {"matched": 1, "predicted": 1, "true": 1}
    assert result["channels"]["key.w"]["best_threshold"] == pytest.approx({"value": 0.4, "f1": 1})
    assert result["channels"]["button.left"]["best_threshold"] is None
    assert result["channels"]["mouse.x"] == {"mse": 0.25}


@given(PLAYED, arrays(bool, (2, 6)))
def test_a_perfect_prediction_is_perfect(played, is_pad):
    is_pad[0, 0] = False
    result = measured(played, played, is_pad)
    assert result["mse"] == result["mse_normalized"] == 0
    assert result["accuracy"] in (1, None)
    assert result["transition_f1"] in (1, None)
    assert result["squared_jerk"] == result["squared_jerk_true"]
    assert result["presses_per_second"] == result["presses_per_second_true"]
    assert all(c["best_threshold"]["f1"] == 1 for c in result["channels"].values() if c.get("best_threshold"))
    json.dumps(result, allow_nan=False)


@given(PLAYED, arrays(np.float32, (2, 4), elements=st.floats(-1, 1, width=32)))
def test_padding_does_not_matter(played, garbage):
    is_pad = np.zeros((2, 6), dtype=bool)
    is_pad[:, 4:] = True
    other = played.copy()
    other[:, 4:] = garbage[:, None]
    assert measured(other, played, is_pad) == measured(played, played, is_pad)
