"""The frozen Qwen3-VL: pictures and an instruction in, hidden states of the picture tokens out."""

from lerobot_qwenvla.backbone.frozen_backbone import FrozenBackbone, UnloadedBackbone
from lerobot_qwenvla.backbone.settings import BackboneSettings

__all__ = ["BackboneSettings", "FrozenBackbone", "UnloadedBackbone"]
