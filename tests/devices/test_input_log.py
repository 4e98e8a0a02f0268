from itertools import count

import pytest

from lerobot_qwenvla.devices.input_log import InputLog, canvas_position

W, SHIFT = ord("W"), 0x10


def make_log():
    """A log whose clock ticks once per event."""
    return InputLog(canvas_px=(64, 48), clock=count(100).__next__)


def said(log):
    return [(event.kind, event.fields) for event in log.waiting]


def test_the_window_counts_from_the_bottom_and_the_canvas_from_the_top():
    assert canvas_position(0, 95, (128, 96), (64, 48)) == (0, 0)
    assert canvas_position(127, 0, (128, 96), (64, 48)) == (63, 47)
    assert canvas_position(3, 91, (128, 96), (64, 48)) == (1, 2)


@pytest.mark.parametrize(
    ("x", "y", "at"), [(-1, 96, (0, 0)), (128, -1, (63, 47)), (-500, 50, (0, 22)), (64, 999, (32, 0))]
)
def test_positions_outside_the_window_are_at_the_edge(x, y, at):
    assert canvas_position(x, y, (128, 96), (64, 48)) == at


def test_events_are_stamped_when_they_are_reported():
    log = make_log()
    log.press_key("W")
    log.move_mouse((1, 2))
    assert [event.tick for event in log.waiting] == [100, 101]


def test_a_mouse_that_rests_reports_nothing():
    log = make_log()
    log.move_mouse((1, 2))
    log.move_mouse((1, 2))
    assert said(log) == [("mousemove", {"x": 1, "y": 2})]


def test_a_short_press_of_a_button_is_two_moves():
    log = make_log()
    log.move_mouse((1, 2))
    log.press_button("right")
    log.release_button("right")
    assert said(log)[1:] == [
        ("mousemove", {"x": 1, "y": 2, "buttons": 2}),
        ("mousemove", {"x": 1, "y": 2, "buttons": 0}),
    ]


def test_buttons_are_held_together():
    log = make_log()
    log.press_button("left")
    log.press_button("middle")
    log.release_button("left")
    assert [fields["buttons"] for _, fields in said(log)] == [1, 5, 4]


def test_shift_is_down_until_both_shift_keys_are_up():
    log = make_log()
    for symbol in ("LSHIFT", "RSHIFT"):
        log.press_key(symbol)
    for symbol in ("LSHIFT", "RSHIFT"):
        log.release_key(symbol)
    assert said(log) == [("keydown", {"vk": SHIFT}), ("keyup", {"vk": SHIFT})]


def test_keys_pressed_elsewhere_come_up_without_an_event():
    log = make_log()
    log.release_key("W")
    log.press_key("LALT")
    assert not log.waiting


def test_all_keys_can_be_released_at_once():
    log = make_log()
    for symbol in ("W", "LSHIFT", "RSHIFT"):
        log.press_key(symbol)
    log.release_all_keys()
    assert said(log)[2:] == [("keyup", {"vk": W}), ("keyup", {"vk": SHIFT})]


def test_a_restart_keeps_what_is_held_and_forgets_what_happened():
    log = make_log()
    log.press_button("left")
    log.press_key("W")
    log.press_key("Q")
    log.release_key("Q")
    log.move_mouse((7, 8))
    log.restart(tick=55)
    assert said(log) == [("mousemove", {"x": 7, "y": 8, "buttons": 1}), ("keydown", {"vk": W})]
    assert {event.tick for event in log.waiting} == {55}


@pytest.mark.parametrize(("tick", "n_taken"), [(100, 0), (101, 1), (102, 2), (500, 2)])
def test_taken_are_the_events_before_a_tick(tick, n_taken):
    log = make_log()
    log.press_key("W")
    log.release_key("W")
    both = log.waiting
    assert tuple(log.take_before(tick)) == both[:n_taken]
    assert log.waiting == both[n_taken:]
