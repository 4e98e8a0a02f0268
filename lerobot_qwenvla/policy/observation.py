"""A batch of LeRobot, unpacked once: named, of known shapes, checked."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import torch
from lerobot.utils.constants import OBS_STATE
from torch import Tensor

from lerobot_qwenvla.backbone.prompt import DEFAULT_INSTRUCTION
from lerobot_qwenvla.features.columns import column_of_camera
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

logger = logging.getLogger(__name__)

TokenGrid = Callable[[tuple[int, ...]], tuple[int, int]]  # shape of a picture → rows and columns of its tokens


@dataclass(frozen=True)
class Observation:
    """What B decisions look at.

    Attributes:
        images: Per camera (B, F, C, H, W) in [0, 1], or only the current frame (B, C, H, W).
        feature_rows: Per camera (B, F) rows of precomputed features, in the place of images.
        instructions: B texts.
        state: (B, S), None where the policy has none.
    """

    images: dict[str, Tensor]
    feature_rows: dict[str, Tensor]
    instructions: list[str]
    state: Tensor | None

    @classmethod
    def from_batch(cls, batch: dict[str, Any], config: QwenVLAConfig, token_grid: TokenGrid) -> Self:
        """Unpacks a batch; a camera that is not in it is left out, with a warning.

        Raises:
            ValueError: No camera is there, a picture has another type, form or range of values than it must have, or
                the state is missing.
        """
        columns = {camera: column_of_camera(camera) for camera in config.image_features}
        rows = {camera: batch[column] for camera, column in columns.items() if column in batch}
        images = {} if rows else _images(batch, config, token_grid)
        inputs = rows or images
        size, device = len(next(iter(inputs.values()))), next(iter(inputs.values())).device
        tasks = batch.get("task") or [""] * size
        if isinstance(tasks, str):
            tasks = [tasks] * size
        instructions = [task or DEFAULT_INSTRUCTION for task in tasks]
        if len(instructions) != size:
            raise ValueError(f"got {len(instructions)} instructions (task) for {size} observations")
        return cls(images, rows, instructions, _state(batch, config, size, device))

    def __len__(self) -> int:
        return len(self.instructions)

    @property
    def is_current(self) -> bool:
        """Whether there is only the current frame, which has to be seen with the ones remembered."""
        return any(images.ndim == 4 for images in self.images.values())


def _images(batch: dict[str, Any], config: QwenVLAConfig, token_grid: TokenGrid) -> dict[str, Tensor]:
    images = {camera: batch[camera] for camera in config.image_features if camera in batch}
    if not images:
        raise ValueError(f"no picture: got {sorted(batch)}, the policy looks at {sorted(config.image_features)}")
    for camera in config.image_features.keys() - images.keys():
        _warn_of_missing(camera)
    for camera, pictures in images.items():
        _check_pictures(camera, pictures, config, token_grid)
    return images


def _state(batch: dict[str, Any], config: QwenVLAConfig, size: int, device: torch.device) -> Tensor | None:
    """The current one; zeros where the policy never sees the one it has."""
    feature, state = config.robot_state_feature, batch.get(OBS_STATE)
    if feature is None:
        return None
    if state is None and config.state_dropout == 1:
        return torch.zeros(size, *feature.shape, device=device)
    if state is None:
        raise ValueError(f"no {OBS_STATE}: got {sorted(batch)}, the policy was trained with {feature.shape} of it")
    return state[:, -1] if state.ndim == 3 else state  # (B, F, S): of frames


@cache
def _warn_of_missing(camera: str) -> None:
    """Once, not at every step."""
    logger.warning("%s is missing; deciding without it", camera)


def _check_pictures(camera: str, pictures: Tensor, config: QwenVLAConfig, token_grid: TokenGrid) -> None:
    if not pictures.is_floating_point():
        raise ValueError(f"{camera}: got {pictures.dtype}, must be float in [0, 1]; divide bytes by 255")
    trained = config.image_features[camera].shape
    if pictures.shape[-3] != 3 or token_grid(pictures.shape[-3:]) != token_grid(trained):
        raise ValueError(
            f"{camera}: got pictures of {tuple(pictures.shape[-3:])}, the policy was trained on {tuple(trained)} "
            "(channels, height, width); resize or crop them to its aspect ratio"
        )
    if pictures.ndim == 5 and pictures.shape[1] != config.num_frames:
        raise ValueError(f"{camera}: got {pictures.shape[1]} frames, must be {config.num_frames}, or the current one")
    lowest, highest = torch.stack(pictures.aminmax()).tolist()
    if not (lowest > -1 and highest < 2):  # augmentation may leave [0, 1] a little; a NaN fails any comparison
        raise ValueError(f"{camera}: values from {lowest:g} to {highest:g}, must be in [0, 1] and finite")
