import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lerobot_qwenvla.devices.commands import Move, Press, commands_between
from recordings_to_lerobot.actions.channels import CHANNEL_INDEX, CHANNELS, ActionSpace
from recordings_to_lerobot.actions.encoding import action_vector

states = st.builds(
    action_vector,
    mouse=st.tuples(st.sampled_from([-1.0, 0.0, 0.5]), st.sampled_from([-1.0, 0.25])),
    buttons=st.frozensets(st.sampled_from(["left", "right"])),
    keys=st.frozensets(st.sampled_from(["w", "a", "shift"])),
)


@settings(deadline=None)
@given(states, states)
def test_the_commands_lead_from_one_state_to_the_other(before, after):
    state = before.copy()
    for command in commands_between(before, after, CHANNELS):
        if isinstance(command, Move):
            state[:2] = command.x, command.y
        else:
            assert state[CHANNEL_INDEX[command.channel]] != command.is_down
            state[CHANNEL_INDEX[command.channel]] = command.is_down
    np.testing.assert_array_equal(state, after)


def test_up_before_the_way_and_down_after_it():
    before = action_vector(mouse=(0.0, 0.0), buttons={"left"})
    after = action_vector(mouse=(0.5, 0.0), keys={"w"})
    assert commands_between(before, after, CHANNELS) == [
        Press("button.left", False),
        Move(0.5, 0.0),
        Press("key.w", True),
    ]


def test_the_same_movement_twice_is_made_twice():
    state = action_vector(mouse=(0.1, 0.0))
    assert commands_between(state, state, ActionSpace("delta").channels) == [Move(float(state[0]), 0.0)]
    assert commands_between(state, state, CHANNELS) == []
