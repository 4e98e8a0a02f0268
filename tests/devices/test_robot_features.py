import numpy as np
import pytest
from lerobot.utils.feature_utils import hw_to_dataset_features

from lerobot_qwenvla.devices.robot_features import features_of, values_of, vector_of
from recordings_to_lerobot.actions.channels import CHANNELS
from recordings_to_lerobot.actions.encoding import action_vector


def test_lerobot_makes_one_vector_of_all_channels_in_their_order():
    feature = hw_to_dataset_features(features_of(CHANNELS), "action")["action"]
    assert [name.removesuffix(".vel") for name in feature["names"]] == list(CHANNELS)
    assert (feature["dtype"], tuple(feature["shape"])) == ("float32", (len(CHANNELS),))


def test_a_vector_comes_back_as_it_was():
    vector = action_vector(mouse=(0.25, -1.0), keys={"w"})
    np.testing.assert_array_equal(vector_of(values_of(vector, CHANNELS), CHANNELS), vector)


def test_missing_and_unknown_channels_are_named():
    values = values_of(action_vector(), CHANNELS)
    del values["key.w.vel"]
    with pytest.raises(ValueError, match=r"lacks \['key\.w\.vel'\] and has \['key\.q'\]"):
        vector_of({**values, "key.q": 1.0}, CHANNELS)
