import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerobot_qwenvla.devices.executor import Executor
from lerobot_qwenvla.miniworld.controls import (
    DEAD_ZONE,
    MAX_TURN_DEG,
    decode_controls,
    mouse_x_of_turn,
    turn_of_mouse_x,
)
from recordings_to_lerobot.actions.encoding import action_vector


def controls_of(**pressed):
    return decode_controls(Executor().perform(action_vector(**pressed)))


@given(st.floats(-MAX_TURN_DEG, MAX_TURN_DEG))
def test_mouse_position_of_a_turn_makes_that_turn(turn_deg):
    assert turn_of_mouse_x(mouse_x_of_turn(turn_deg)) == pytest.approx(turn_deg, abs=1e-9)


def test_mouse_to_the_right_turns_right_up_to_the_stock_turn():
    assert turn_of_mouse_x(1.0) == -MAX_TURN_DEG
    assert turn_of_mouse_x(-1.0) == MAX_TURN_DEG


@given(st.floats(-DEAD_ZONE, DEAD_ZONE))
def test_mouse_near_the_centre_does_not_turn(mouse_x):
    assert turn_of_mouse_x(mouse_x) == 0.0


def test_faster_turns_than_possible_put_the_mouse_at_the_edge():
    assert mouse_x_of_turn(100.0) == -1.0


def test_keys_walk_and_step_aside():
    assert (controls_of(keys={"w"}).walk, controls_of(keys={"s"}).walk) == (1, -1)
    assert (controls_of(keys={"d"}).sidestep, controls_of(keys={"a"}).sidestep) == (1, -1)


def test_opposite_keys_cancel():
    both = controls_of(keys={"w", "s", "a", "d"})
    assert (both.walk, both.sidestep) == (0, 0)


def test_left_button_picks_up_and_right_button_drops():
    left, right = controls_of(buttons={"left"}), controls_of(buttons={"right"})
    assert (left.picks_up, left.drops, right.picks_up, right.drops) == (True, False, False, True)
