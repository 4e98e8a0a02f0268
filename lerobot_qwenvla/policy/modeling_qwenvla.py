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
from lerobot.policies.common.flow_matching import sample_noise, sample_time_beta
from lerobot.policies.rtc import RTCProcessor
from lerobot.utils.constants import ACTION
from torch import Tensor, nn

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.features.store import FeatureStore, column_of_camera
from lerobot_qwenvla.policy.adapters import check_adapters, default_adapters
from lerobot_qwenvla.policy.checkpoint import check_trained_with, expect_no_backbone
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.context import CameraProjector, ContextProjector, Features
from lerobot_qwenvla.policy.expert import ActionExpert, KeysValues
from lerobot_qwenvla.policy.frame_memory import FeatureCache
from lerobot_qwenvla.policy.normalization import check_statistics, with_ranges
from lerobot_qwenvla.policy.observation import instructions_of, pictures_of, state_of
from lerobot_qwenvla.policy.solvers import Velocity, integrate
from lerobot_qwenvla.tools.parameters import parameter_report

logger = logging.getLogger(__name__)

HIDDEN_INSTRUCTION = ""


class QwenVLAPolicy(PreTrainedPolicy):
    """LeRobot policy; see `QwenVLAConfig` for its settings.

    Raises:
        ValueError: A setting is out of its range, the inputs lack a camera or the outputs an action, the dataset lacks
            statistics, or the backbone can't be restored.
    """

    config_class = QwenVLAConfig
    name = "qwenvla"

    def __init__(
        self,
        config: QwenVLAConfig,
        dataset_meta: LeRobotDatasetMetadata | None = None,
        backbone: FrozenBackbone | None = None,
        **_: Any,
    ) -> None:
        """`dataset_meta` is what it will train on; `backbone` takes the place of the one the config names."""
        super().__init__(config)
        config.validate_settings()
        config.validate_features()
        if dataset_meta is not None:
            check_statistics(config, dataset_meta.stats)
            # lerobot-train overrides the statistics of a checkpoint it goes on from by these.
            dataset_meta.stats = with_ranges(config, dataset_meta.stats)
        self.backbone = backbone or FrozenBackbone(config)
        # What PEFT asks before it looks for quantised layers.
        self.is_loaded_in_4bit = "4bit" in (config.quantization, config.vision_quantization)
        self.is_loaded_in_8bit = "8bit" in (config.quantization, config.vision_quantization)
        self.feature_store = FeatureStore(dataset_meta, config) if dataset_meta is not None else None
        if not self.feature_store:
            self.backbone.load()
        cameras = {
            camera: CameraProjector(
                self.backbone.token_grid(feature.shape),
                width=config.expert_width,
                feature_width=self.backbone.width,
                frames=config.num_frames,
                pooling=config.token_pooling,
            )
            for camera, feature in config.image_features.items()
        }
        state = config.robot_state_feature.shape[0] if config.robot_state_feature else 0
        self.context = ContextProjector(cameras, width=config.expert_width, state=state)
        self.expert = ActionExpert(
            width=config.expert_width,
            layers=config.expert_layers,
            heads=config.expert_heads,
            chunk_size=config.chunk_size,
            action=config.action_feature.shape[0],
            checkpointing=config.gradient_checkpointing,
        )
        if config.compile_model:
            self.expert.compile()
        self.register_load_state_dict_post_hook(expect_no_backbone)
        self.cache = FeatureCache(self.backbone, config.frame_offsets, joint=config.frame_encoding == "joint")
        self.action_queue: deque[Tensor] = deque()
        self.init_rtc_processor()
        logger.info("\n%s", parameter_report(self))

    def reset(self) -> None:
        """Forgets the running episodes."""
        self.cache.clear()
        self.action_queue.clear()

    def init_rtc_processor(self) -> None:
        """Takes up `config.rtc_config`; LeRobot calls this when it has set one.

        Raises:
            ValueError: Its `execution_horizon` exceeds `chunk_size`.
        """
        rtc = self.config.rtc_config
        self.rtc_processor = RTCProcessor(rtc) if rtc is not None and rtc.enabled else None
        if self.rtc_processor and rtc.execution_horizon > self.config.chunk_size:
            raise ValueError(
                f"--inference.rtc.execution_horizon={rtc.execution_horizon} exceeds the {self.config.chunk_size} "
                "actions of a chunk; pass a smaller one"
            )

    def supports_rtc(self) -> bool:
        return True

    def _get_default_peft_targets(self) -> dict[str, Any]:
        return default_adapters(context=self.context, expert=self.expert)

    def _validate_peft_config(self, peft_config: Any) -> None:
        super()._validate_peft_config(peft_config)
        check_adapters(peft_config, has_features=bool(self.feature_store))

    def get_optim_params(self) -> list[dict[str, Any]]:
        """What is trained: projectors with their own learning rate; no decay on biases, norms and embeddings."""
        matrices = {m.weight for m in self.modules() if isinstance(m, nn.Linear)}
        projectors = {
            *self.context.parameters(),
            *self.expert.action_in.parameters(),
            *self.expert.action_out.parameters(),
        }
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = []
        for is_projector, lr_scale in ((False, 1.0), (True, self.config.optimizer_projector_lr_scale)):
            members = [p for p in trained if (p in projectors) == is_projector]
            lr = self.config.optimizer_lr * lr_scale
            groups.append({"params": [p for p in members if p in matrices], "lr": lr})
            groups.append({"params": [p for p in members if p not in matrices], "lr": lr, "weight_decay": 0.0})
        return [group for group in groups if group["params"]]

    def forward(self, batch: dict[str, Any], reduction: str = "mean") -> tuple[Tensor, dict[str, float]]:
        """Flow-matching loss: mean squared error of the velocity at random times between action and noise.

        Args:
            batch: Frames (B, F, C, H, W) or pointers to their features (B, F), state (B, F, S), actions
                (B, chunk, A), `action_is_pad` (B, chunk), `task`.
            reduction: "mean", or "none" for a loss per sample (B,).
        """
        context = self._keys_values(self._training_features(batch), batch)
        draws = self.config.noise_draws
        action = batch[ACTION].repeat_interleave(draws, dim=0)  # (B·K, chunk, A)
        noise = sample_noise(action.shape, action.device)
        time = sample_time_beta(len(action), action.device, alpha=1.5, beta=1.0, scale=0.999, offset=0.001)  # (B·K,)
        t = time[:, None, None]
        x_t = t * noise + (1 - t) * action  # t=1 is noise
        velocity = noise - action
        error = F.mse_loss(self.expert(x_t, time, context), velocity, reduction="none").mean(-1)  # (B·K, chunk)
        error = error.unflatten(0, (-1, draws)).mean(1)  # (B, chunk)
        is_real = ~batch["action_is_pad"] if "action_is_pad" in batch else torch.ones_like(error, dtype=torch.bool)
        if reduction == "none":  # an episode's last step still has one real action
            return (error * is_real).sum(1) / is_real.sum(1), {}
        return (error * is_real).sum() / is_real.sum(), {}

    @torch.inference_mode(False)  # in which real-time chunking could not differentiate
    @torch.no_grad()
    def predict_action_chunk(
        self,
        batch: dict[str, Any],
        noise: Tensor | None = None,
        *,
        inference_delay: int = 0,
        prev_chunk_left_over: Tensor | None = None,
        execution_horizon: int | None = None,
    ) -> Tensor:
        """Next actions, normalised.  # (B, chunk, A)

        Args:
            batch: Frames (B, F, C, H, W), or only the current one (B, C, H, W), which then joins the running episodes.
            noise: Fixes the sample.  # (B, chunk, A)
            inference_delay, prev_chunk_left_over, execution_horizon: Of real-time chunking, see LeRobot's
                `RTCProcessor.denoise_step`.
        """
        self.eval()
        instructions = self._instructions(batch)
        guided = self.config.guidance_scale != 1
        context = self._keys_values(self._decision_features(batch, instructions), batch)
        if noise is None:
            batch_size = len(instructions) // (1 + guided)
            shape = (batch_size, self.config.chunk_size, self.config.action_feature.shape[0])
            noise = sample_noise(shape, self.config.device)

        def velocity(x_t: Tensor, time: Tensor) -> Tensor:
            if not guided:
                return self.expert(x_t, time, context)
            told, untold = self.expert(x_t.repeat(2, 1, 1), time.repeat(2), context).chunk(2)
            return untold + self.config.guidance_scale * (told - untold)

        def continued(x_t: Tensor, time: Tensor) -> Tensor:
            return self.rtc_processor.denoise_step(
                x_t, prev_chunk_left_over, inference_delay, time[0], lambda x: velocity(x, time), execution_horizon
            )

        field: Velocity = continued if self.rtc_processor else velocity
        return integrate(field, noise, self.config.num_inference_steps, self.config.solver)

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], noise: Tensor | None = None) -> Tensor:
        """Action for the current step, normalised; looks again after `n_action_steps` of them.  # (B, A)

        Raises:
            ValueError: Real-time chunking is on, which needs whole chunks.
        """
        if self.rtc_processor:
            raise ValueError("real-time chunking takes whole chunks from predict_action_chunk; unset rtc_config")
        self.eval()
        if self.action_queue:
            self._remember(batch)
        else:
            chunk = self.predict_action_chunk(batch, noise)
            self.action_queue.extend(chunk[:, : self.config.n_action_steps].unbind(1))
        return self.action_queue.popleft()

    def _remember(self, batch: dict[str, Any]) -> None:
        """Keeps the frame of a step that needs no decision, for those that will look back to it."""
        images = pictures_of(batch, self.config, self.backbone)
        picture = next(iter(images.values()))
        if len(picture) != len(self.action_queue[0]):
            raise ValueError(
                f"got {len(picture)} observations, but decided for {len(self.action_queue[0])}; call reset() between"
            )
        if picture.ndim == 5:  # the next decision gets all its frames
            return
        envs, instructions = list(range(len(picture))), self._instructions(batch)
        self.cache.push(images, envs)
        if self.config.frame_caching == "eager" and -len(self.action_queue) in self.config.frame_offsets:
            self.cache.encode(instructions, envs * (len(instructions) // len(envs)))

    def _instructions(self, batch: dict[str, Any]) -> list[str]:
        """What the frames of a decision are read with: B instructions, and for guidance once more with none."""
        instructions = instructions_of(batch)
        guided = self.config.guidance_scale != 1
        return instructions + [HIDDEN_INSTRUCTION] * (len(instructions) * guided)

    def _keys_values(self, features: Features, batch: dict[str, Any]) -> KeysValues:
        """Context of features (R·B rows: every one of B observations was read R times) and state."""
        rows = len(next(iter(features.values())))
        state = state_of(batch, self.config)
        if state is not None:
            state = state.repeat(rows // len(state), 1)
        dropout = self.config.state_dropout if self.training else float(self.config.state_dropout == 1)
        hide_state = torch.rand(rows, device=self.context.norm.weight.device) < dropout
        return self.expert.context_keys_values(self.context(features, state, hide_state))

    def _training_features(self, batch: dict[str, Any]) -> Features:
        """Of frames (B, F, C, H, W), or of pointers (B, F) to precomputed features."""
        if self.feature_store:
            return self.feature_store.read(batch)
        instructions = instructions_of(batch)
        hidden = torch.rand(len(instructions)) < (self.config.instruction_dropout if self.training else 0.0)
        instructions = [HIDDEN_INSTRUCTION if h else text for text, h in zip(instructions, hidden, strict=True)]
        images = pictures_of(batch, self.config, self.backbone)
        if len(images) < len(self.config.image_features):
            raise ValueError(f"training needs {sorted(self.config.image_features)}, the batch has {sorted(images)}")
        return {camera: self.backbone.encode(frames, instructions) for camera, frames in images.items()}

    def _decision_features(self, batch: dict[str, Any], instructions: list[str]) -> Features:
        """Of B observations, each read with one or several of R·B instructions."""
        if self.feature_store and any(column_of_camera(camera) in batch for camera in self.config.image_features):
            return self.feature_store.read(batch)
        images = pictures_of(batch, self.config, self.backbone)
        batch_size = len(next(iter(images.values())))
        readings = len(instructions) // batch_size
        if next(iter(images.values())).ndim == 4:
            self.cache.push(images, range(batch_size))
            return self.cache.features(instructions, list(range(batch_size)) * readings)
        return {
            camera: self.backbone.encode(frames.repeat(readings, 1, 1, 1, 1), instructions)
            for camera, frames in images.items()
        }

    @classmethod
    def _load_as_safetensor(cls, model: "QwenVLAPolicy", model_file: str, map_location: str, strict: bool):
        if not Path(model_file).is_file():
            raise ValueError(f"{model_file}: missing; is this the pretrained_model folder of a qwenvla checkpoint?")
        check_trained_with(Path(model_file).parent, model.config)
        try:
            return super()._load_as_safetensor(model, model_file, map_location, strict=True)
        except RuntimeError as error:
            raise ValueError(
                f"{model_file} is not of this policy: backbone, cameras, state, actions and expert must be those it "
                f"was trained with. {' '.join(str(error).split())}"
            ) from error
