import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lerobot_qwenvla.devices.clock import QPC_FREQ
from lerobot_qwenvla.devices.input_device import InputDevice
from lerobot_qwenvla.devices.intention import Intention
from lerobot_qwenvla.recorder.clock import FRAME_PERIOD_TICKS
from lerobot_qwenvla.recorder.hand import Hand
from recordings_to_lerobot.actions.encoding import action_vector, normalize_px

CANVAS_PX = (128, 96)

intentions = st.lists(
    st.builds(
        Intention,
        cursor_px=st.tuples(st.integers(0, CANVAS_PX[0] - 1), st.integers(0, CANVAS_PX[1] - 1)),
        keys=st.frozensets(st.sampled_from(["w", "a", "d", "shift"])),
        clicks=st.lists(st.sampled_from(["left", "right"]), max_size=2).map(tuple),
    ),
    max_size=12,
)


def make_hand(seed=0):
    return Hand(CANVAS_PX, np.random.default_rng(seed))


def carry_out(hand, wanted):
    """Events of each interval of 100 ms."""
    period = FRAME_PERIOD_TICKS
    return [hand.carry_out(intention, i * period, (i + 1) * period) for i, intention in enumerate(wanted)]


@given(intentions, st.integers(0, 5))
def test_events_lie_strictly_inside_their_interval_in_order(wanted, seed):
    for i, events in enumerate(carry_out(make_hand(seed), wanted)):
        ticks = [event.tick for event in events]
        assert ticks == sorted(ticks)
        assert all(i * FRAME_PERIOD_TICKS < tick < (i + 1) * FRAME_PERIOD_TICKS for tick in ticks)


@given(intentions, st.integers(0, 5))
def test_the_device_does_what_was_intended(wanted, seed):
    device, held = InputDevice(CANVAS_PX), frozenset()
    for intention, events in zip(wanted, carry_out(make_hand(seed), wanted), strict=True):
        action = device.play(events)
        pressed = action_vector(buttons=set(intention.clicks), keys=held | intention.keys)
        np.testing.assert_array_equal(action[2:], pressed[2:])
        np.testing.assert_array_equal(device.state[2:], action_vector(keys=intention.keys)[2:])
        held = intention.keys


def test_mouse_ends_at_the_target_after_several_moves():
    events = make_hand().carry_out(Intention((120, 40)), 0, FRAME_PERIOD_TICKS)
    x_px = [event.fields["x"] for event in events]
    assert len(x_px) >= 3
    assert x_px == sorted(x_px)
    assert x_px[-1] == 120
    assert abs(events[-1].fields["y"] - 40) <= 4


def test_mouse_height_wobbles_a_little():
    device = InputDevice(CANVAS_PX)
    y = [device.play(events)[1] for events in carry_out(make_hand(), [Intention((64, 48))] * 200)]
    wobble_px = np.ptp(y) * (CANVAS_PX[1] - 1) / 2
    assert 1 <= wobble_px <= 0.1 * CANVAS_PX[1]
    assert abs(np.mean(y) - normalize_px(48, CANVAS_PX[1])) < 0.05


def test_a_held_key_repeats_after_half_a_second_thirty_times_a_second():
    wanted = [Intention((64, 48), frozenset("w"))] * 10
    events = [event for interval in carry_out(make_hand(), wanted) for event in interval]
    ms = [event.tick * 1000 / QPC_FREQ for event in events if event.kind == "keydown"]
    assert 500 <= ms[1] - ms[0] < 501
    np.testing.assert_allclose(np.diff(ms[1:]), 33, atol=1)
    assert ms[-1] > 960


def test_the_key_pressed_last_is_the_one_that_repeats():
    wanted = [Intention((64, 48), frozenset("w"))] * 8 + [Intention((64, 48), frozenset("wa"))] * 12
    events = [event for interval in carry_out(make_hand(), wanted)[13:] for event in interval]
    assert {event.fields["vk"] for event in events if event.kind == "keydown"} == {ord("A")}


def test_a_released_key_repeats_no_more():
    wanted = [Intention((64, 48), frozenset("w"))] * 8 + [Intention((64, 48))] * 4
    events = [event for interval in carry_out(make_hand(), wanted) for event in interval]
    keys = [event.kind for event in events if event.kind.startswith("key")]
    assert keys[-1] == "keyup"
    assert keys.count("keyup") == 1


def test_same_seed_moves_the_same_way():
    wanted = [Intention((100, 48), frozenset("w")), Intention((20, 48))]
    assert carry_out(make_hand(3), wanted) == carry_out(make_hand(3), wanted)
    assert carry_out(make_hand(3), wanted) != carry_out(make_hand(4), wanted)
