import numpy as np
import pytest

from lerobot_qwenvla.devices.input_device import InputDevice, InputEvent
from recordings_to_lerobot.actions.encoding import action_vector, normalize_px

W, A = ord("W"), ord("A")


def move(x, y, **fields):
    return InputEvent(0, "mousemove", {"x": x, "y": y, **fields})


def click(x, y, **fields):
    return InputEvent(0, "mouseclick", {"x": x, "y": y, **fields})


def down(vk):
    return InputEvent(0, "keydown", {"vk": vk})


def up(vk):
    return InputEvent(0, "keyup", {"vk": vk})


def make_device():
    return InputDevice(canvas_px=(101, 51))


def test_at_rest_the_mouse_is_centred_and_nothing_is_held():
    np.testing.assert_array_equal(make_device().state, action_vector())


def test_mouse_counts_where_it_is_at_the_end_of_the_interval():
    action = make_device().play([move(100, 0), move(25, 50)])
    np.testing.assert_array_equal(action, action_vector(mouse=(-0.5, 1.0)))


def test_mouse_stays_where_it_was_without_events():
    device = make_device()
    device.play([move(30, 10)])
    expected = action_vector(mouse=(normalize_px(30, 101), normalize_px(10, 51)))
    np.testing.assert_array_equal(device.play([]), expected)


def test_mouse_outside_the_canvas_counts_as_its_edge():
    np.testing.assert_array_equal(make_device().play([move(-7, 90)])[:2], [-1.0, 1.0])


def test_a_tap_inside_the_interval_counts_in_it_alone():
    device = make_device()
    np.testing.assert_array_equal(device.play([down(W), up(W)]), action_vector(keys={"w"}))
    np.testing.assert_array_equal(device.state, action_vector())
    np.testing.assert_array_equal(device.play([]), action_vector())


def test_a_release_shows_in_the_next_interval():
    device = make_device()
    device.play([down(W)])
    np.testing.assert_array_equal(device.play([up(W), down(A)]), action_vector(keys={"w", "a"}))
    np.testing.assert_array_equal(device.play([]), action_vector(keys={"a"}))


def test_repeated_keydown_changes_nothing():
    device = make_device()
    device.play([down(W), down(W), down(W)])
    device.play([up(W)])
    np.testing.assert_array_equal(device.state, action_vector())


def test_either_shift_key_is_shift():
    np.testing.assert_array_equal(make_device().play([down(0xA1)]), action_vector(keys={"shift"}))


def test_keys_outside_the_vocabulary_change_nothing():
    device = make_device()
    np.testing.assert_array_equal(device.play([down(ord("Z")), down(W), up(ord("Z"))]), action_vector(keys={"w"}))


def test_a_click_is_momentary_and_left_unless_told():
    device = make_device()
    np.testing.assert_array_equal(device.play([click(50, 25)]), action_vector(buttons={"left"}))
    np.testing.assert_array_equal(device.play([click(50, 25, buttons=2)]), action_vector(buttons={"right"}))
    np.testing.assert_array_equal(device.state, action_vector())


def test_buttons_of_a_move_are_held_until_a_move_says_otherwise():
    device = make_device()
    device.play([move(50, 25, buttons=5)])
    np.testing.assert_array_equal(device.play([move(50, 25)]), action_vector(buttons={"left", "middle"}))
    device.play([move(50, 25, buttons=0)])
    np.testing.assert_array_equal(device.state, action_vector())


def test_events_no_device_sends_are_an_error():
    with pytest.raises(ValueError, match="'focus'"):
        make_device().play([InputEvent(0, "focus", {})])
