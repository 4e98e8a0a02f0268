"""What a batch says about pictures and instructions, checked."""

import logging
from functools import cache
from typing import Any

import torch
from lerobot.utils.constants import OBS_STATE
from torch import Tensor

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

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
        _warn_of_missing(camera)
    for camera, pictures in images.items():
        _check_pictures(camera, pictures, config, backbone)
    return images


def state_of(batch: dict[str, Any], config: QwenVLAConfig) -> Tensor | None:
    """The current state (B, S); None where the policy has none, zeros where it never sees the one it has.

    Raises:
        ValueError: It is missing.
    """
    feature, state = config.robot_state_feature, batch.get(OBS_STATE)
    if feature is None:
        return None
    if state is None and config.state_dropout == 1:
        tensor = next(value for value in batch.values() if isinstance(value, Tensor) and value.ndim)
        return torch.zeros(len(tensor), *feature.shape, device=tensor.device)
    if state is None:
        raise ValueError(f"no {OBS_STATE}: got {sorted(batch)}, the policy was trained with {feature.shape} of it")
    return state[:, -1] if state.ndim == 3 else state  # (B, F, S): of frames


@cache
def _warn_of_missing(camera: str) -> None:
    """Once, not at every step."""
    logger.warning("%s is missing; deciding without it", camera)


def _check_pictures(camera: str, pictures: Tensor, config: QwenVLAConfig, backbone: FrozenBackbone) -> None:
    if not pictures.is_floating_point():
        raise ValueError(f"{camera}: got {pictures.dtype}, must be float in [0, 1]; divide bytes by 255")
    trained = config.image_features[camera].shape
    if pictures.shape[-3] != 3 or backbone.token_grid(pictures.shape[-3:]) != backbone.token_grid(trained):
        raise ValueError(
            f"{camera}: got pictures of {tuple(pictures.shape[-3:])}, the policy was trained on {tuple(trained)} "
            "(channels, height, width); resize or crop them to its aspect ratio"
        )
    if pictures.ndim == 5 and pictures.shape[1] != config.num_frames:
        raise ValueError(f"{camera}: got {pictures.shape[1]} frames, must be {config.num_frames}, or the current one")
    lowest, highest = torch.stack(pictures.aminmax()).tolist()
    if not (lowest > -1 and highest < 2):  # augmentation may leave [0, 1] a little; a NaN fails any comparison
        raise ValueError(f"{camera}: values from {lowest:g} to {highest:g}, must be in [0, 1] and finite")
