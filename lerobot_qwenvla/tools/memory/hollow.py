"""A policy of the real classes whose weights have shape and type but no memory.

What is computed from such a weight has no memory either (torch's fake tensors), so that the policy's own code runs in
seconds at any size, and every tensor it would make is seen. Fake tensors say they are on the CPU: there, as on CUDA,
attention never holds its matrix of scores.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from bitsandbytes.functional import QuantState
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from lerobot_qwenvla.backbone import FrozenBackbone, UnloadedBackbone
from lerobot_qwenvla.backbone.prompt import chat_prompt
from lerobot_qwenvla.backbone.quantization import is_nf4
from lerobot_qwenvla.backbone.text_layers import TextLayers
from lerobot_qwenvla.backbone.vision_tower import VisionTower
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools.parameters import components

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
    # Losses by the names of actions are numbers to log, which hollow tensors do not have.
    config = replace(config, device="cpu", compile_model=False, action_names=None)
    backbone = (UnloadedBackbone if precomputed else HollowBackbone)(config.backbone_settings)
    with FakeTensorMode(allow_non_fake_inputs=True):
        policy = QwenVLAPolicy(config, backbone=backbone)
    if precomputed:
        policy.perception.store = BlankFeatures(policy)
    return policy


def verify_weights(policy: QwenVLAPolicy) -> int:
    """Checks that loaded weights are stored as hollow ones say; returns how many layers are 4-bit.

    Raises:
        ValueError: A layer of a 4-bit part is not NF4 with nested scales, or a part has another size than computed.
    """
    hollow = hollow_policy(policy.config, precomputed=policy.backbone.vision is None)
    four_bit = {name: m for name, m in hollow.backbone.named_modules() if isinstance(m, FourBitLinear)}
    for name, expected in four_bit.items():
        layer = policy.backbone.get_submodule(name)
        if not is_nf4(layer):
            state = getattr(layer.weight, "quant_state", None)
            raise ValueError(f"{name} is a {type(layer).__name__} with {state}, must be NF4 with nested scales")
        if not layer.weight.quant_state.nested:
            expected.pack()
    for expected, loaded in zip(components(hollow), components(policy), strict=True):
        if loaded != expected:
            raise ValueError(f"the loaded weights are not as computed: got {loaded}, must be {expected}")
    return len(four_bit)


class HollowBackbone(FrozenBackbone):
    """Makes weights without memory where others are read."""

    def load(self, device: torch.device | str) -> None:
        if self.vision is None:
            settings, dtype = self.settings, self.settings.torch_dtype
            vision = VisionTower._from_config(self.vlm_config.vision_config, dtype=dtype)
            text = TextLayers._from_config(self.vlm_config.text_config, dtype=dtype)
            for part, quantization in ((vision, settings.vision_quantization), (text, settings.quantization)):
                if quantization != "none" and not settings.dequantize:
                    for name, linear in [(n, m) for n, m in part.named_modules() if isinstance(m, nn.Linear)]:
                        part.set_submodule(name, STORED_AS[quantization](linear))
            self.vision, self.text = vision.requires_grad_(False).eval(), text.requires_grad_(False).eval()


class BlankFeatures:
    """A feature store whose features are all zero."""

    def __init__(self, policy: QwenVLAPolicy) -> None:
        self.images, self.backbone = policy.config.image_features, policy.backbone

    def read(self, rows: dict[str, Tensor], hidden: Tensor | None = None) -> dict[str, Tensor]:
        """Of rows (B, F) by camera.  # per camera (B, F, T, D)"""
        dtype, width = self.backbone.settings.torch_dtype, self.backbone.width
        tokens = {camera: math.prod(self.backbone.token_grid(self.images[camera].shape)) for camera in rows}
        return {camera: torch.zeros(*r.shape, tokens[camera], width, dtype=dtype) for camera, r in rows.items()}

    def words(self, instructions: list[str], device: torch.device) -> Tensor:
        """(B, L, D)"""
        prompts = [chat_prompt(self.backbone.processor, text).prefix for text in instructions]
        longest = max(map(len, prompts))
        return torch.zeros(
            len(prompts), longest, self.backbone.width, dtype=self.backbone.settings.torch_dtype, device=device
        )


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

    def pack(self) -> None:
        """What it stores after its first use on a CPU with AVX-512 BF16: the scales themselves, in bfloat16."""
        state = self.weight.quant_state
        state.absmax, state.nested = torch.empty_like(state.absmax, dtype=torch.bfloat16), False

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
