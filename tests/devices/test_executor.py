import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lerobot_qwenvla.devices.executor import STALL_TICKS, ExecutionConfig, Executor, RealTimeExecutor
from recordings_to_lerobot.actions.channels import CHANNEL_INDEX, CHANNELS, ActionSpace
from recordings_to_lerobot.actions.encoding import action_vector

W = CHANNEL_INDEX["key.w"]
PERIOD_S = 0.1


def with_w(value):
    action = action_vector()
    action[W] = value
    return action


class Clock:
    def __init__(self):
        self.s = 5.0

    def __call__(self):
        return self.s


def make_real_time(channels=CHANNELS):
    clock = Clock()
    return RealTimeExecutor(Executor(channels=channels), PERIOD_S, clock), clock


def test_channels_count_as_pressed_above_one_half():
    half, more = np.full(len(CHANNELS), 0.5), np.full(len(CHANNELS), 0.51)
    assert not Executor().perform(half)[2:].any()
    assert Executor().perform(more)[2:].all()


def test_mouse_is_clipped_to_the_canvas():
    np.testing.assert_array_equal(Executor().perform(action_vector(mouse=(1.7, -3.0)))[:2], [1.0, -1.0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(value):
    with pytest.raises(ValueError, match=r"finite.*key\.w"):
        Executor().perform(with_w(value))


@pytest.mark.parametrize("shape", [(), (26,), (1, len(CHANNELS))])
def test_wrong_shape_is_an_error(shape):
    with pytest.raises(ValueError, match="shape"):
        Executor().perform(np.zeros(shape))


def test_a_held_key_does_not_flutter_around_the_threshold():
    executor = Executor(ExecutionConfig(press_above=0.6, release_below=0.4))
    held = [executor.perform(with_w(value))[W] for value in (0.55, 0.65, 0.45, 0.55, 0.35, 0.55)]
    assert held == [0, 1, 1, 1, 0, 0]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), max_size=30), st.floats(0, 0.5), st.floats(0.5, 1))
def test_hysteresis_only_ever_removes_changes(values, release_below, press_above):
    def changes(config):
        executor = Executor(config)
        held = [0.0, *(float(executor.perform(with_w(value))[W]) for value in values)]
        return int(np.abs(np.diff(held)).sum())

    assert changes(ExecutionConfig(press_above, release_below)) <= changes(ExecutionConfig())


def test_smoothing_goes_part_of_the_way_each_time():
    executor = Executor(ExecutionConfig(smoothing=0.5))
    x = [executor.perform(action_vector(mouse=(1.0, 0.0)))[0] for _ in range(3)]
    assert x == [0.5, 0.75, 0.875]


def test_letting_go_leaves_the_mouse_where_it_is():
    executor = Executor()
    executor.perform(action_vector(mouse=(0.5, -0.5), buttons={"left"}, keys={"w"}))
    np.testing.assert_array_equal(executor.let_go(), action_vector(mouse=(0.5, -0.5)))


def test_a_mouse_of_movements_stops_when_it_lets_go():
    executor = Executor(channels=ActionSpace("delta").channels)
    executor.perform(action_vector(mouse=(0.5, -0.5)))
    assert not executor.let_go().any()


@pytest.mark.parametrize("settings", [{"press_above": 0.3}, {"press_above": 1.5}, {"smoothing": 1.0}])
def test_settings_that_contradict_themselves_are_refused(settings):
    with pytest.raises(ValueError, match="need 0"):
        ExecutionConfig(**settings)


def test_an_action_is_held_until_the_next_one():
    executor, _ = make_real_time()
    executor.send(with_w(1))
    assert [executor.tick()[W], executor.tick()[W]] == [1, 1]


def test_everything_comes_up_three_ticks_after_the_last_action():
    executor, clock = make_real_time()
    executor.send(with_w(1))
    held = []
    for _ in range(STALL_TICKS + 3):
        held.append(float(executor.tick()[W]))
        clock.s += PERIOD_S
    assert held == [1.0] * STALL_TICKS + [0.0] * 3
    assert executor.stalled_ticks == STALL_TICKS + 2


def test_a_tap_between_two_ticks_is_performed():
    executor, _ = make_real_time()
    executor.send(with_w(1))
    executor.send(action_vector(mouse=(0.5, 0.0)))
    np.testing.assert_array_equal(executor.tick(), action_vector(mouse=(0.5, 0.0), keys={"w"}))


def test_movements_between_two_ticks_add_up():
    executor, _ = make_real_time(ActionSpace("delta").channels)
    for _ in range(3):
        executor.send(action_vector(mouse=(0.125, -0.25)))
    np.testing.assert_array_equal(executor.tick()[:2], [0.375, -0.75])


def test_what_was_sent_before_letting_go_is_not_performed_after():
    executor, _ = make_real_time()
    executor.send(with_w(1))
    executor.let_go()
    assert not executor.tick().any()
