"""What a checkpoint holds, and whether it is of the policy that is loaded from it."""

import logging
from pathlib import Path
from typing import Any

from huggingface_hub.constants import CONFIG_NAME
from lerobot.configs import PreTrainedConfig
from torch import nn

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

logger = logging.getLogger(__name__)


def expect_no_backbone(policy: nn.Module, incompatible_keys: Any) -> None:
    """A hook of `load_state_dict`: the backbone comes from its own source, and a checkpoint without it is complete."""
    incompatible_keys.missing_keys[:] = [
        key for key in incompatible_keys.missing_keys if not key.startswith("backbone.")
    ]


def check_trained_with(checkpoint: Path, config: QwenVLAConfig) -> None:
    """Compares the features a policy will look at with those its checkpoint was trained on.

    A backbone of another name is only warned of: it may be the same one in another place.

    Raises:
        ValueError: They are of another layer or of pictures of another size.
    """
    if not (checkpoint / CONFIG_NAME).is_file():
        return
    trained = PreTrainedConfig.from_pretrained(checkpoint)
    for name in ("vlm_layer", "image_size"):
        if (got := getattr(config, name)) != (wanted := getattr(trained, name)):
            raise ValueError(f"{checkpoint} was trained with {name}={wanted}, got {got}; leave --policy.{name} out")
    if config.backbone != trained.backbone:
        logger.warning(
            "%s was trained with the backbone %s, and is used with %s: make sure that they are the same",
            checkpoint,
            trained.backbone,
            config.backbone,
        )
