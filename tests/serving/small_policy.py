"""A checkpoint of a small untrained policy that looks at 384×384 pixels and uses mouse and keyboard."""

from pathlib import Path

import torch
from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_qwenvla import QwenVLAConfig
from lerobot_qwenvla.backbone.tiny import make_tiny_backbone
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from recordings_to_lerobot.actions.channels import CHANNELS

NAMES = [f"{channel}.vel" for channel in CHANNELS]  # as our robots call them
PICTURE = (384, 384, 3)


def save_policy(folder: Path, *, picture_px: int = PICTURE[0]) -> Path:
    """Writes it to a folder, and its backbone beside it; the folder."""
    backbone = make_tiny_backbone(folder.parent / "backbone")
    config = QwenVLAConfig(
        **{
            "backbone": str(backbone), "vlm_layer": 4, "quantization": "none", "dtype": "float32", "expert_layers": 4,
            "expert_width": 128, "expert_heads": 4, "device": "cpu", "push_to_hub": False,
            "action_names": list(CHANNELS), "image_size": picture_px,
        }
    )  # fmt: skip
    size = (len(CHANNELS),)
    config.input_features = {
        f"{OBS_IMAGES}.screen": PolicyFeature(FeatureType.VISUAL, (3, picture_px, picture_px)),
        OBS_STATE: PolicyFeature(FeatureType.STATE, size),
    }
    config.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, size)}
    torch.manual_seed(0)
    policy = QwenVLAPolicy(config)
    for name, parameter in policy.model.expert.named_parameters():
        if "modulation" in name:  # zero at first: a fresh layer is the identity
            torch.nn.init.normal_(parameter, std=0.1)
    policy.save_pretrained(folder)
    ranges = {"min": -torch.ones(size), "max": torch.ones(size)}
    for processor in make_pre_post_processors(config, dataset_stats={ACTION: ranges, OBS_STATE: ranges}):
        processor.save_pretrained(folder)
    return folder


def load_config(folder: Path) -> QwenVLAConfig:
    return PreTrainedConfig.from_pretrained(folder)
