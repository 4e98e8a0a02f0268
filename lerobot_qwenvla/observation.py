"""What a batch says about pictures and instructions, checked."""

import logging
from typing import Any

import torch
from torch import Tensor

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.configuration_qwenvla import QwenVLAConfig

logger = logging.getLogger(__name__)

# What a policy is told where a dataset or an environment has no instruction.
DEFAULT_INSTRUCTION = "Do what comes next."


def instructions_of(batch: dict[str, Any]) -> list[str]:
    """One instruction a sample; `DEFAULT_INSTRUCTION` where there is none."""
    size = next((len(value) for value in batch.values() if isinstance(value, Tensor) and value.ndim), 1)
    tasks = batch.get("task") or [""] * size
    if isinstance(tasks, str):
        tasks = [tasks] * size
    return [task or DEFAULT_INSTRUCTION for task in tasks]


def pictures_of(batch: dict[str, Any], config: QwenVLAConfig, backbone: FrozenBackbone) -> dict[str, Tensor]:
    """Pictures by camera; a camera that is not in the batch is left out, with a warning.

    Raises:
        ValueError: No camera is there, or a picture has another type, form or range of values than it must have.
    """
    images = {camera: batch[camera] for camera in config.image_features if camera in batch}
    if not images:
        raise ValueError(f"no picture: got {sorted(batch)}, the policy looks at {sorted(config.image_features)}")
    for camera in config.image_features.keys() - images.keys():
        logger.warning("%s is missing; deciding without it", camera)
    for camera, pictures in images.items():
        _check_pictures(camera, pictures, config, backbone)
    return images


def _check_pictures(camera: str, pictures: Tensor, config: QwenVLAConfig, backbone: FrozenBackbone) -> None:
    if not pictures.is_floating_point():
        raise ValueError(f"{camera}: got {pictures.dtype}, must be float in [0, 1]; divide bytes by 255")
    trained = config.image_features[camera].shape
    if pictures.shape[-3] != 3 or backbone.token_grid(pictures.shape[-3:]) != backbone.token_grid(trained):
        raise ValueError(
            f"{camera}: got pictures of {tuple(pictures.shape[-3:])}, the policy was trained on {tuple(trained)} "
            "(channels, height, width); resize or crop them to its aspect ratio"
        )
    lowest, highest = torch.stack(pictures.aminmax()).tolist()
    if not (lowest > -1 and highest < 2):  # augmentation may leave [0, 1] a little; a NaN fails any comparison
        raise ValueError(f"{camera}: values from {lowest:g} to {highest:g}, must be in [0, 1] and finite")
