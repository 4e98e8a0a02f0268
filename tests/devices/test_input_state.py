import numpy as np
import pytest

from lerobot_qwenvla.devices.input_state import input_state
from recordings_to_lerobot.actions.channels import CHANNELS
from recordings_to_lerobot.actions.encoding import action_vector


def test_channels_count_as_pressed_above_one_half():
    half, more = np.full(len(CHANNELS), 0.5), np.full(len(CHANNELS), 0.51)
    assert not input_state(half)[2:].any()
    assert input_state(more)[2:].all()


def test_mouse_is_clipped_to_the_canvas():
    np.testing.assert_array_equal(input_state(action_vector(mouse=(1.7, -3.0)))[:2], [1.0, -1.0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(value):
    action = action_vector()
    action[5] = value
    with pytest.raises(ValueError, match=r"finite.*key\.w"):
        input_state(action)


@pytest.mark.parametrize("shape", [(), (26,), (1, len(CHANNELS))])
def test_wrong_shape_is_an_error(shape):
    with pytest.raises(ValueError, match="shape"):
        input_state(np.zeros(shape))
