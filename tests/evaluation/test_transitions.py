import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lerobot_qwenvla.evaluation.transitions import count_transitions, events, f1, matches

PRESSED = arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 3)))


def channel(*steps: float) -> np.ndarray:
    """One chunk of one channel.  # (1, T, 1)"""
    return np.array(steps, dtype=np.float32)[None, :, None]


def score(predicted: np.ndarray, true: np.ndarray) -> float | None:
    return f1(count_transitions(predicted, true, np.zeros(true.shape[:2], dtype=bool)))


def test_events_are_where_a_channel_goes_up_or_down_between_real_steps():
    actions, is_pad = channel(0, 0.4, 0.6, 1, 0, 1), np.array([[False] * 5 + [True]])
    presses, releases = events(actions, is_pad)
    assert presses[0, :, 0].tolist() == [False, True, False, False, False]  # the last one leads into padding
    assert releases[0, :, 0].tolist() == [False, False, False, True, False]


def test_an_event_a_step_early_or_late_is_right_but_not_two():
    true = channel(0, 0, 0, 1, 1, 1)
    assert score(channel(0, 0, 1, 1, 1, 1), true) == 1
    assert score(channel(0, 0, 0, 0, 1, 1), true) == 1
    assert score(channel(0, 1, 1, 1, 1, 1), true) == 0
    assert score(channel(0, 0, 0, 0, 0, 0), true) == 0


def test_presses_do_not_stand_for_releases_and_every_event_counts_once():
    assert score(channel(1, 1, 0, 0), channel(0, 0, 1, 1)) == 0
    # A press, a release and a press close together, of which the recording has but one press.
    assert score(channel(0, 1, 0, 1, 1), channel(0, 0, 1, 1, 1)) == 2 * 1 / (3 + 1)


def test_an_early_prediction_leaves_the_later_event_to_the_later_one():
    predicted, true = (np.array(steps, bool)[None, :, None] for steps in ([0, 1, 1, 0], [1, 0, 1, 0]))
    assert matches(predicted, true).tolist() == [2]


def test_nothing_happens_and_nothing_is_scored():
    assert score(channel(1, 1), channel(1, 1)) is None


@given(PRESSED)
def test_a_perfect_prediction_has_an_f1_of_one(pressed):
    assert score(pressed * 1.0, pressed * 1.0) in (1, None)


@given(arrays(bool, (2, 6, 2)), arrays(bool, (2, 6, 2)))
def test_matching_is_symmetric_and_never_more_than_there_is(predicted, true):
    matched = matches(predicted, true)
    assert (matched == matches(true, predicted)).all()
    assert (matched <= np.minimum(predicted.sum((0, 1)), true.sum((0, 1)))).all()
    assert (matched >= (predicted & true).sum((0, 1))).all()
