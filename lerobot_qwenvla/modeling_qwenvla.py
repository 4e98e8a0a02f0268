"""The `qwenvla` policy: a frozen Qwen3-VL looks, a flow-matching expert writes the next actions.

frames (B, F, C, H, W) + instruction ─ frozen backbone ─→ features (B, F, T, D) ─┐
state (B, S) ────────────────────────────────────────────────────────────────────┤ context (B, F·T+1, W)
noise (B, chunk, A) ─ expert, num_inference_steps times ─→ actions (B, chunk, A) ←┘
"""

import logging
from collections import deque
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.policies import PreTrainedPolicy
from lerobot.policies.common.flow_matching import euler_integrate, sample_noise, sample_time_beta
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor, nn

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.expert import ActionExpert, KeysValues
from lerobot_qwenvla.feature_store import FeatureStore, column_of_camera
from lerobot_qwenvla.frame_history import FrameHistory
from lerobot_qwenvla.parameter_report import parameter_report

logger = logging.getLogger(__name__)

# Normalisation puts every state seen in training into [-1, 1]. A channel that never moved there (a key never pressed)
# has no range, and the first time it moves would otherwise be a number in the billions.
STATE_LIMIT = 2.0


class Projectors(nn.Module):
    """Into and out of the expert's width: frame features, state and actions."""

    def __init__(self, *, width: int, feature_width: int, frames: int, tokens: int, state: int, action: int) -> None:
        super().__init__()
        self.feature_norm = nn.LayerNorm(feature_width)
        self.feature_in = nn.Linear(feature_width, width)
        self.frame_embedding = nn.Parameter(torch.randn(frames, 1, width) * 0.02)
        self.token_embedding = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.state_in = nn.Sequential(nn.Linear(state, width), nn.LayerNorm(width)) if state else None
        self.hidden_state = nn.Parameter(torch.zeros(width)) if state else None
        self.context_norm = nn.LayerNorm(width)
        self.action_in = nn.Linear(action, width)
        self.action_out = nn.Linear(width, action)

    def context(self, features: Tensor, state: Tensor | None, hide_state: Tensor) -> Tensor:
        """features (B, F, T, D), state (B, S), hide_state (B,) bool → (B, F·T (+1), W)"""
        tokens = self.feature_in(self.feature_norm(features)) + self.frame_embedding + self.token_embedding
        tokens = tokens.flatten(1, 2)
        if self.state_in is not None:
            state = self.state_in(state.clamp(-STATE_LIMIT, STATE_LIMIT))  # (B, W)
            state = torch.where(hide_state[:, None], self.hidden_state, state)
            tokens = torch.cat([tokens, state[:, None]], dim=1)
        return self.context_norm(tokens)


class QwenVLAPolicy(PreTrainedPolicy):
    """LeRobot policy; see `QwenVLAConfig` for its settings.

    Raises:
        ValueError: A setting is out of its range, the inputs lack a camera or the outputs an action, or the backbone
            can't be restored.
    """

    config_class = QwenVLAConfig
    name = "qwenvla"

    def __init__(self, config: QwenVLAConfig, dataset_meta: LeRobotDatasetMetadata | None = None, **_: Any) -> None:
        super().__init__(config)
        config.validate_settings()
        config.validate_features()
        self.backbone = FrozenBackbone(config)
        self.feature_store = FeatureStore(dataset_meta) if dataset_meta is not None else None
        if not self.feature_store:
            self.backbone.load()
        self.projectors = Projectors(
            width=config.expert_width,
            feature_width=self.backbone.width,
            frames=config.num_frames,
            tokens=sum(self.backbone.tokens_per_image(camera.shape) for camera in config.image_features.values()),
            state=config.robot_state_feature.shape[0] if config.robot_state_feature else 0,
            action=config.action_feature.shape[0],
        )
        self.expert = ActionExpert(
            width=config.expert_width,
            layers=config.expert_layers,
            heads=config.expert_heads,
            chunk_size=config.chunk_size,
        )
        self.register_load_state_dict_post_hook(_expect_no_backbone)
        self.history = FrameHistory(config.frame_offsets, self._encode)
        self.action_queue: deque[Tensor] = deque()
        logger.info("\n%s", parameter_report(self))

    def reset(self) -> None:
        """Forgets the running episodes."""
        self.history.clear()
        self.action_queue.clear()

    def get_optim_params(self) -> list[dict[str, Any]]:
        """Parameter groups: projectors with their own learning rate; no decay on biases, norms and embeddings."""
        groups = []
        for module, lr_scale in (
            (self.expert, 1.0),
            (self.projectors, self.config.optimizer_projector_lr_scale),
        ):
            matrices = [m.weight for m in module.modules() if isinstance(m, nn.Linear)]
            ids = {id(p) for p in matrices}
            rest = [p for p in module.parameters() if id(p) not in ids]
            lr = self.config.optimizer_lr * lr_scale
            groups += [{"params": matrices, "lr": lr}, {"params": rest, "lr": lr, "weight_decay": 0.0}]
        return groups

    def forward(self, batch: dict[str, Any], reduction: str = "mean") -> tuple[Tensor, dict[str, float]]:
        """Flow-matching loss: mean squared error of the velocity at a random time between action and noise.

        Args:
            batch: Frames (B, F, C, H, W) or pointers to their features (B, F), state (B, F, S), actions
                (B, chunk, A), `action_is_pad` (B, chunk), `task`.
            reduction: "mean", or "none" for a loss per sample (B,).
        """
        action = batch[ACTION]  # (B, chunk, A)
        noise = sample_noise(action.shape, action.device)
        time = sample_time_beta(len(action), action.device, alpha=1.5, beta=1.0, scale=0.999, offset=0.001)  # (B,)
        t = time[:, None, None]
        x_t = t * noise + (1 - t) * action  # t=1 is noise
        velocity = noise - action
        context = self._context(self._frame_features(batch), batch)
        error = F.mse_loss(self._velocity(x_t, time, context), velocity, reduction="none").mean(-1)  # (B, chunk)
        is_real = ~batch["action_is_pad"] if "action_is_pad" in batch else torch.ones_like(error, dtype=torch.bool)
        if reduction == "none":  # an episode's last step still has one real action
            return (error * is_real).sum(1) / is_real.sum(1), {}
        return error[is_real].mean(), {}

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any], noise: Tensor | None = None) -> Tensor:
        """Next actions, normalised.  # (B, chunk, A)

        `noise` (B, chunk, A) fixes the sample.
        """
        self.eval()
        features = self._frame_features(batch)
        context = self._context(features, batch)
        if noise is None:
            shape = (len(features), self.config.chunk_size, self.config.action_feature.shape[0])
            noise = sample_noise(shape, features.device)
        return euler_integrate(
            lambda x_t, time: self._velocity(x_t, time, context), noise, self.config.num_inference_steps
        )

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], noise: Tensor | None = None) -> Tensor:
        """Action for the current step, normalised; looks again after `n_action_steps` of them.  # (B, A)"""
        self.eval()
        if self.action_queue:
            self.history.push(self._images(batch), batch["task"])
        else:
            chunk = self.predict_action_chunk(batch, noise)
            self.action_queue.extend(chunk[:, : self.config.n_action_steps].unbind(1))
        return self.action_queue.popleft()

    def _velocity(self, x_t: Tensor, time: Tensor, context: KeysValues) -> Tensor:  # (B, chunk, A)
        return self.projectors.action_out(self.expert(self.projectors.action_in(x_t), time, context))

    def _context(self, features: Tensor, batch: dict[str, Any]) -> KeysValues:
        state = batch.get(OBS_STATE)
        if state is not None and state.ndim == 3:  # (B, F, S): only the current state
            state = state[:, -1]
        dropout = self.config.state_dropout if self.training else float(self.config.state_dropout == 1)
        hide_state = torch.rand(len(features), device=features.device) < dropout
        return self.expert.context_keys_values(self.projectors.context(features, state, hide_state))

    def _images(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        return {camera: batch[camera] for camera in self.config.image_features}

    def _frame_features(self, batch: dict[str, Any]) -> Tensor:
        """Features of the frames to look at.  # (B, F, T, D)

        The batch has pointers to precomputed features (B, F), or all the frames (B, F, C, H, W), or only the current
        one (B, C, H, W), which then joins the history of the running episodes.
        """
        columns = [column_of_camera(camera) for camera in self.config.image_features]
        if columns[0] in batch:
            return torch.cat([self.feature_store.read(column, batch[column]) for column in columns], dim=2)
        images = self._images(batch)
        if next(iter(images.values())).ndim == 4:
            self.history.push(images, batch["task"])
            return self.history.features()
        instructions = [task for task in batch["task"] for _ in range(self.config.num_frames)]
        features = self._encode({camera: frames.flatten(0, 1) for camera, frames in images.items()}, instructions)
        return features.unflatten(0, (-1, self.config.num_frames))

    def _encode(self, images: dict[str, Tensor], instructions: list[str]) -> Tensor:
        """Per camera (N, C, H, W), N instructions → (N, T, D), the cameras' tokens one after the other."""
        return torch.cat([self.backbone.encode(frames, instructions) for frames in images.values()], dim=1)

    @classmethod
    def _load_as_safetensor(cls, model: "QwenVLAPolicy", model_file: str, map_location: str, strict: bool):
        if not Path(model_file).is_file():
            raise ValueError(f"{model_file}: missing; is this the pretrained_model folder of a qwenvla checkpoint?")
        return super()._load_as_safetensor(model, model_file, map_location, strict=True)


def _expect_no_backbone(policy: QwenVLAPolicy, incompatible_keys: Any) -> None:
    """The backbone comes from its own source: a checkpoint without it is complete."""
    incompatible_keys.missing_keys[:] = [
        key for key in incompatible_keys.missing_keys if not key.startswith("backbone.")
    ]
