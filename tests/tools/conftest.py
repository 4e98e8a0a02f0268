"""Small policies that the commands look at."""

from collections.abc import Callable

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy

CHANNELS = 5


@pytest.fixture(scope="session")
def seeing_config(make_config) -> Callable[..., QwenVLAConfig]:
    """A config with its inputs and outputs: cameras by name, with height and width, and a state if there is one."""

    def make(cameras: dict[str, tuple[int, int]] | None = None, state: int = CHANNELS, **overrides) -> QwenVLAConfig:
        cameras = cameras or {f"{OBS_IMAGES}.screen": (64, 64)}
        inputs = {name: PolicyFeature(FeatureType.VISUAL, (3, *size)) for name, size in cameras.items()}
        if state:
            inputs[OBS_STATE] = PolicyFeature(FeatureType.STATE, (state,))
        outputs = {ACTION: PolicyFeature(FeatureType.ACTION, (CHANNELS,))}
        return make_config(input_features=inputs, output_features=outputs, **overrides)

    return make


@pytest.fixture(scope="session")
def make_policy(seeing_config) -> Callable[..., QwenVLAPolicy]:
    """A policy of such a config, with weights under which every input matters."""

    def make(*args, **overrides) -> QwenVLAPolicy:
        torch.manual_seed(0)
        policy = QwenVLAPolicy(seeing_config(*args, **overrides)).eval()
        for layer in policy.model.expert.layers:  # zero at first: a fresh layer is the identity
            torch.nn.init.normal_(layer.modulation.weight, std=0.1)
        return policy

    return make
