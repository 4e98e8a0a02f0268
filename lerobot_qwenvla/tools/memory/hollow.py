"""A policy of the real classes whose weights have shape and type but no memory.

What is computed from such a weight has no memory either (torch's fake tensors), so that the policy's own code runs in
seconds at any size, and `LiveBytes` sees every tensor it would make. Fake tensors say they are on the CPU: there,
as on CUDA, attention never holds its matrix of scores.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from bitsandbytes.functional import QuantState
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from transformers import PreTrainedModel

from lerobot_qwenvla.backbone import FrozenBackbone, UnloadedBackbone
from lerobot_qwenvla.backbone.text_layers import TextLayers
from lerobot_qwenvla.backbone.vision_tower import VisionTower
from lerobot_qwenvla.features.store import column_of_camera
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy

# bitsandbytes' NF4: a scale for 64 weights, and one more for 256 scales.
WEIGHTS_PER_SCALE = 64
SCALES_PER_SCALE = 256


def hollow_policy(config: QwenVLAConfig, *, precomputed: bool = False) -> QwenVLAPolicy:
    """A policy without weights; only the backbone's config and processor are read.

    Args:
        config: With its input and output features.
        precomputed: Trains on precomputed features: without backbone.

    Raises:
        ValueError: As the policy itself.
    """
    config = replace(config, device="cpu", compile_model=False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        policy = QwenVLAPolicy(config, backbone=(UnloadedBackbone if precomputed else HollowBackbone)(config))
    if precomputed:
        policy.feature_store = BlankFeatures(policy)
    return policy


class HollowBackbone(FrozenBackbone):
    """Makes weights without memory where others are read."""

    def load(self) -> None:
        if self.vision is None:
            dtype = getattr(torch, self.config.dtype)
            vision = VisionTower._from_config(self.vlm_config.vision_config, dtype=dtype)
            text = TextLayers._from_config(self.vlm_config.text_config, dtype=dtype)
            self.vision = _frozen(vision, self.config.vision_quantization)
            self.text = _frozen(text, self.config.quantization)


class BlankFeatures:
    """A feature store whose features are all zero."""

    def __init__(self, policy: QwenVLAPolicy) -> None:
        self._shapes = {}
        for camera, feature in policy.config.image_features.items():
            rows, columns = policy.backbone.token_grid(feature.shape)
            self._shapes[camera] = (rows * columns, policy.backbone.width)

    def read(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Of pointers (B, F).  # per camera (B, F, T, D)"""
        return {c: torch.zeros(*batch[column_of_camera(c)].shape, *shape) for c, shape in self._shapes.items()}


class FourBitLinear(nn.Module):
    """What bitsandbytes' `Linear4bit` stores, and the most it takes to multiply by it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weights = linear.weight.numel()
        scales = -(-weights // WEIGHTS_PER_SCALE)
        scales_of_scales = QuantState(
            torch.empty(-(-scales // SCALES_PER_SCALE)), code=torch.empty(256), blocksize=SCALES_PER_SCALE
        )
        self.weight = nn.Parameter(torch.empty(-(-weights // 2), 1, dtype=torch.uint8), requires_grad=False)
        self.weight.quant_state = QuantState(
            torch.empty(scales, dtype=torch.uint8),
            shape=linear.weight.shape,
            code=torch.empty(16),
            blocksize=WEIGHTS_PER_SCALE,
            quant_type="nf4",
            offset=torch.empty(()),
            state2=scales_of_scales,
        )
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        # Of more than 1536 tokens bitsandbytes makes the whole weight for the product; fewer may do without.
        return F.linear(x, x.new_empty(self.weight.quant_state.shape), self.bias)


class EightBitLinear(nn.Module):
    """What bitsandbytes' `Linear8bitLt` stores, and what it takes to multiply by it; without outliers."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty_like(linear.weight, dtype=torch.int8), requires_grad=False)
        self.weight.SCB = torch.empty(len(linear.weight))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:  # (..., I) → (..., O)
        half = x.half()
        codes = torch.empty_like(half, dtype=torch.int8)
        products = codes.new_empty((*x.shape[:-1], len(self.weight)), dtype=torch.int32)
        return products.to(x.dtype)


STORED_AS = {"4bit": FourBitLinear, "8bit": EightBitLinear}


def _frozen[Part: PreTrainedModel](part: Part, quantization: str) -> Part:
    if quantization != "none":
        for name, linear in [(n, m) for n, m in part.named_modules() if isinstance(m, nn.Linear)]:
            part.set_submodule(name, STORED_AS[quantization](linear))
    return part.requires_grad_(False).eval()
