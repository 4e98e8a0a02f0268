"""Ready for a GPU where there is none: the policy on fake CUDA tensors, which notice every mixture of devices."""

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor
from torch._subclasses import FakeTensorMode

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.backbone.text_layers import TextLayers
from lerobot_qwenvla.backbone.vision_tower import VisionTower
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.policy.observation import Observation

SCREEN = "observation.images.screen"
GUIDED = {"guidance_scale": 2.0, "instruction_dropout": 0.1}


class FakeVisionTower(VisionTower):
    """transformers looks at numbers to make the tables of positions, once a grid; there are none here."""

    def _position_tables(self, grid: tuple[int, int]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        patches, width = grid[0] * grid[1], self.config.hidden_size
        angle = torch.rand(patches, width // self.config.num_heads)
        return torch.rand(patches, width, dtype=self.dtype), (angle.cos(), angle.sin())


class FakeBackbone(FrozenBackbone):
    """Makes weights without memory, on the device in force, where others are read."""

    def load(self, device: torch.device | str) -> None:
        if self.vision is None:
            dtype = self.settings.torch_dtype
            self.vision = FakeVisionTower._from_config(self.vlm_config.vision_config, dtype=dtype).requires_grad_(False)
            self.text = TextLayers._from_config(self.vlm_config.text_config, dtype=dtype).requires_grad_(False)


@pytest.fixture
def on_fake_cuda():
    """Everything made in this test is on a CUDA device that has no memory."""
    with FakeTensorMode(), torch.device("cuda"):
        yield


@pytest.fixture
def make_policy(make_config):
    def make(**settings) -> QwenVLAPolicy:
        config = make_config(dtype="bfloat16", **settings)
        config.input_features = {
            SCREEN: PolicyFeature(FeatureType.VISUAL, (3, 64, 64)),
            OBS_STATE: PolicyFeature(FeatureType.STATE, (5,)),
        }
        config.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, (5,))}
        return QwenVLAPolicy(config, backbone=FakeBackbone(config.backbone_settings))

    return make


def observe(images: Tensor) -> Observation:
    """As unpacked from a batch, whose values nobody can check where they have no memory."""
    return Observation({SCREEN: images}, {}, ["go", "go to the red box"][: len(images)], torch.rand(len(images), 5))


CONFIGURATIONS = [
    {"frame_encoding": encoding, "token_pooling": pooling, "solver": solver}
    for encoding in ("per_frame", "joint")
    for pooling in ("none", "average", "learned")
    for solver in ("euler", "heun", "rk4")
]
CONFIGURATIONS += [GUIDED, {"noise_draws": 3}, {"gradient_checkpointing": True}, {"state_dropout": 1.0}]


@pytest.mark.parametrize("settings", CONFIGURATIONS, ids=str)
@pytest.mark.usefixtures("on_fake_cuda")
def test_trains_and_decides_without_leaving_the_device(make_policy, settings):
    policy = make_policy(num_inference_steps=2, **settings)
    draws = 2 * policy.config.noise_draws
    features = policy.perception.for_training(observe(torch.rand(2, 3, 3, 64, 64)))
    with torch.autocast("cuda", torch.bfloat16):
        error = policy.model.train().loss(
            features, torch.rand(2, 5), torch.rand(2, 6, 5), noise=torch.rand(draws, 6, 5), time=torch.rand(draws)
        )
    assert (error.device.type, error.shape) == ("cuda", (2, 6, 5))  # autograd wants a real device to go back

    policy.eval()
    for step in range(3):
        observation = observe(torch.rand(2, 3, 64, 64))
        guided = policy.model.is_guided
        with torch.no_grad():
            features = policy.perception.for_decision(observation, [step] * 2, [0, 1], guided=guided)
        chunk = policy.model.sample(features, observation.state)  # noise is drawn there, whatever config.device says
    assert (chunk.device.type, chunk.shape, chunk.dtype) == ("cuda", (2, 6, 5), torch.float32)
    assert policy.config.device == "cpu"
