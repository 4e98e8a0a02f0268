"""A training step as lerobot-train takes it, and a decision, both on a made-up batch."""

from typing import Any

import torch
from lerobot.utils.constants import ACTION, OBS_STATE
from torch.optim import AdamW, Optimizer

from lerobot_qwenvla.features.store import column_of_camera
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy

# Of the usual length: its keys and values stand before every picture.
INSTRUCTION = "Walk to the red box behind the house and pick up what lies next to it."


def training_step(policy: QwenVLAPolicy, optimizer: Optimizer, batch_size: int) -> None:
    """Forward, backward and optimizer, in the precision LeRobot takes from `config.dtype`."""
    config = policy.config
    batch = _observations(config, batch_size, precomputed=bool(policy.feature_store))
    batch[ACTION] = torch.zeros(batch_size, config.chunk_size, *config.action_feature.shape, device=config.device)
    policy.train()
    with torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.dtype == "bfloat16"):
        loss, _ = policy(batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), config.optimizer_grad_clip_norm)
    optimizer.step()
    optimizer.zero_grad()


def decision(policy: QwenVLAPolicy) -> None:
    """One chunk of actions for one observation."""
    policy.predict_action_chunk(_observations(policy.config, 1, precomputed=False))


def running_optimizer(policy: QwenVLAPolicy) -> AdamW:
    """AdamW in the middle of training: with the moments that it makes at its first step."""
    # foreach is what torch chooses on CUDA; it takes more memory than parameter by parameter.
    optimizer = AdamW(policy.get_optim_params(), foreach=True)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def _observations(config: QwenVLAConfig, batch_size: int, *, precomputed: bool) -> dict[str, Any]:
    """Black pictures (B, F, C, H, W), or pointers (B, F) to precomputed features; and the state (B, F, S)."""
    rows = batch_size, config.num_frames
    batch: dict[str, Any] = {"task": [INSTRUCTION] * batch_size}
    for camera, feature in config.image_features.items():
        if precomputed:
            batch[column_of_camera(camera)] = torch.zeros(rows, dtype=torch.long, device=config.device)
        else:
            batch[camera] = torch.zeros(*rows, *feature.shape, device=config.device)
    if config.robot_state_feature:
        batch[OBS_STATE] = torch.zeros(*rows, *config.robot_state_feature.shape, device=config.device)
    return batch
