"""What a backbone is made of."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

QUANTIZATIONS = ("none", "4bit", "8bit")
DTYPES = ("float32", "bfloat16")
FRAME_ENCODINGS = ("per_frame", "joint")


@dataclass(frozen=True)
class BackboneSettings:
    """All that the frozen features of a picture depend on, besides the picture and the instruction.

    Named as the options of the policy that makes them (see `QwenVLAConfig`), so that a message can say what to pass.

    Raises:
        ValueError: A setting is out of its range.
    """

    backbone: str
    backbone_revision: str | None = None
    vlm_layer: int = 14
    quantization: str = "4bit"
    vision_quantization: str = "none"
    dtype: str = "bfloat16"
    image_size: int = 384
    frame_encoding: str = "per_frame"
    # Same values at another speed: no part of what the features are.
    dequantize: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        for name, choices in (
            ("quantization", QUANTIZATIONS),
            ("vision_quantization", QUANTIZATIONS),
            ("dtype", DTYPES),
            ("frame_encoding", FRAME_ENCODINGS),
        ):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"--policy.{name} must be one of {', '.join(choices)}, got {value!r}")
        if self.vlm_layer < 1:
            raise ValueError(f"--policy.vlm_layer must be at least 1, got {self.vlm_layer}")
        if self.image_size < 32:
            raise ValueError(f"--policy.image_size must be at least 32 pixels, got {self.image_size}")
        if self.dequantize and self.quantizations != {"4bit"}:
            raise ValueError(
                "--policy.dequantize=true is for 4-bit weights, got "
                f"--policy.quantization={self.quantization} and --policy.vision_quantization={self.vision_quantization}"
            )

    @property
    def quantizations(self) -> set[str]:
        """The ways in which weights are quantised, other than not at all."""
        return {self.quantization, self.vision_quantization} - {"none"}

    @property
    def torch_dtype(self) -> torch.dtype:
        """Type of the unquantised weights, and of what is computed with them."""
        return getattr(torch, self.dtype)

    def identity(self) -> dict[str, Any]:
        """What must be equal for features to be the same."""
        return {name: value for name, value in asdict(self).items() if name != "dequantize"}
