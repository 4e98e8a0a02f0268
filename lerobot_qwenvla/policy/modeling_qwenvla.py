"""The `qwenvla` policy: a frozen Qwen3-VL looks, a flow-matching expert writes the next actions.

frames (B, F, C, H, W) + instruction ─ frozen backbone ─→ features (B, F, T, D) ─┐
state (B, S) ────────────────────────────────────────────────────────────────────┤ flow matching
noise (B, chunk, A) ─────────────────────────────────────────────────────────────┴─→ actions (B, chunk, A)

This module fits the algorithm (`flow_matching.py`) to LeRobot: batches, queue, PEFT, checkpoints, real-time chunking.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.policies import PreTrainedPolicy
from lerobot.policies.rtc import RTCProcessor
from lerobot.utils.constants import ACTION
from torch import Tensor, nn

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.features.store import FeatureStore
from lerobot_qwenvla.policy.adapters import check_adapters, default_adapters
from lerobot_qwenvla.policy.algorithm.flow_matching import Chance, FlowMatching, Steering, draw, losses_by_kind
from lerobot_qwenvla.policy.checkpoint import check_trained_with, expect_no_backbone, warn_of_local_backbone
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.hub.card import make_card
from lerobot_qwenvla.policy.observation import Observation
from lerobot_qwenvla.policy.perception import Perception
from lerobot_qwenvla.policy.processor_qwenvla import action_moments, check_statistics, with_ranges
from lerobot_qwenvla.policy.rtc import executed_steps, steering

# Of a dataset, to learn what they have in common.
MOST_INSTRUCTIONS = 256


class QwenVLAPolicy(PreTrainedPolicy):
    """LeRobot policy; see `QwenVLAConfig` for its settings.

    Raises:
        ValueError: A setting is out of its range, the inputs lack a camera or the outputs an action, the dataset lacks
            statistics, or the backbone can't be restored.
    """

    config_class = QwenVLAConfig
    name = "qwenvla"
    # What LeRobot's `drop_queued_actions` clears.
    _action_queue_attrs = ("action_queue",)
    # What FSDP shards apart, as LeRobot's main branch and accelerate ask for it. A whole layer of the expert is no such
    # unit: its keys and values and its modulation are computed ahead, outside of its forward.
    _fsdp_wrap_modules = _no_split_modules = ("FeedForward",)

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
            if config.push_to_hub:
                warn_of_local_backbone(config)
        self.backbone = backbone or FrozenBackbone(config.backbone_settings)
        # What PEFT asks before it looks for quantised layers.
        stored = set() if config.dequantize else self.backbone.settings.quantizations
        self.is_loaded_in_4bit, self.is_loaded_in_8bit = "4bit" in stored, "8bit" in stored
        store = FeatureStore.of_dataset(dataset_meta, config.frame_encoding) if dataset_meta is not None else None
        if store is None:
            self.backbone.load(config.device)
        self.perception = Perception(config, self.backbone, store)
        grids = {camera: self.backbone.token_grid(feature.shape) for camera, feature in config.image_features.items()}
        self.model = FlowMatching(config, grids, self.backbone.width)
        if dataset_meta is not None:
            self._fit(dataset_meta)
        if config.compile_model:
            self.model.compile_velocity(config.compile_mode)
        self.register_load_state_dict_post_hook(expect_no_backbone)
        self.reset()
        self.init_rtc_processor()

    @torch.no_grad()
    def _fit(self, dataset_meta: LeRobotDatasetMetadata) -> None:
        """Takes what is common to all actions and instructions of a dataset; a checkpoint has it of its own."""
        if moments := action_moments(self.config, dataset_meta.stats):
            self.model.expert.prior.fit(*moments)
        texts = list(dataset_meta.tasks.index)
        some = texts[:: -(-len(texts) // MOST_INSTRUCTIONS)]
        words = self.perception.store or self.backbone
        self.model.context.instruction.fit(words.words(some, torch.device(self.config.device)))

    def reset(self, session: Hashable | None = None) -> None:
        """Forgets the running episodes, or the frames of one session."""
        self.perception.memory.reset(session)
        if session is None:
            # A new one: another thread may be acting from the old one.
            self.action_queue: deque[Tensor] = deque()
            self._step = -1  # of the last observation
            self._is_counting = False  # whether select_action counts the steps
            self._last_chunk: Tensor | None = None

    # --- Training ---

    def forward(self, batch: dict[str, Any], reduction: str = "mean") -> tuple[Tensor, dict[str, float]]:
        """Flow-matching loss: mean squared error of the velocity at random times between action and noise.

        Actions past the end of an episode count as hit, as in LeRobot's policies, so that the loss of a batch is the
        mean over its parts of equal size, in whichever steps or processes they are computed. Out of training the same
        sample has the same noise and times each time.

        Args:
            batch: Frames (B, F, C, H, W) or rows of their features (B, F), state (B, F, S), actions (B, chunk, A),
                `action_is_pad` (B, chunk), `task`, `index` (B,), which tells samples apart; and, to fix what is drawn
                otherwise, `noise` and `time` of `FlowMatching.loss`.
            reduction: "mean", or "none" for a loss per sample (B,).

        Returns:
            The loss, and of it the parts: mouse, buttons and keys, each the mean over its channels.
        """
        observation = self._observe(batch)
        chance = self._draw(batch.get("index", torch.arange(len(observation))))
        hide_instruction = hide_state = None
        if self.training:
            hide_instruction = chance.instruction < self.config.instruction_dropout
            hide_state = chance.state < self.config.state_dropout
        error = self.model.loss(
            self.perception.for_training(observation, hide_instruction),
            observation.state,
            batch[ACTION],
            noise=batch.get("noise", chance.noise),
            time=batch.get("time", chance.time),
            hide_state=hide_state,
        )  # (B, chunk, A)
        padded = batch.get("action_is_pad")
        is_real = torch.ones_like(error[..., 0]) if padded is None else (~padded).to(error.dtype)  # (B, chunk)
        error = error * is_real[..., None]
        parts = losses_by_kind(error.detach().mean((0, 1)), self.config.action_names or [])
        by_sample = error.mean((1, 2))
        return (by_sample if reduction == "none" else by_sample.mean()), parts

    def _draw(self, index: Tensor) -> Chance:
        """What chance decides about the samples of a batch, which in training is counted.  # index (B,)"""
        batch_key = []
        if self.training:
            batch_key = [torch.initial_seed(), self.config.batches_trained]
            self.config.batches_trained += 1
        keys = [[*batch_key, sample] for sample in index.flatten().tolist()]
        return draw(keys, self.config.noise_draws, self.model.chunk_shape, self.model.device)

    def get_optim_params(self) -> list[dict[str, Any]]:
        """What is trained: projectors with their own learning rate; no decay on biases, norms and embeddings."""
        context, expert = self.model.context, self.model.expert
        matrices = {m.weight for m in self.modules() if isinstance(m, nn.Linear | nn.Conv2d)}
        projectors = {*context.parameters(), *expert.action_in.parameters(), *expert.action_out.parameters()}
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = []
        for is_projector, lr_scale in ((False, 1.0), (True, self.config.optimizer_projector_lr_scale)):
            members = [p for p in trained if (p in projectors) == is_projector]
            lr = self.config.optimizer_lr * lr_scale
            groups.append({"params": [p for p in members if p in matrices], "lr": lr})
            groups.append({"params": [p for p in members if p not in matrices], "lr": lr, "weight_decay": 0.0})
        return [group for group in groups if group["params"]]

    # --- Decisions ---

    # lerobot-rollout compiles this method as a whole, which would trace bookkeeping that changes at every step.
    @torch.compiler.disable
    @torch.inference_mode(False)  # in which real-time chunking could not differentiate
    @torch.no_grad()
    def predict_action_chunk(
        self,
        batch: dict[str, Any],
        noise: Tensor | None = None,
        *,
        steps: Sequence[int] | None = None,
        sessions: Sequence[Hashable] | None = None,
        inference_delay: int = 0,
        prev_chunk_left_over: Tensor | None = None,
        execution_horizon: int | None = None,
    ) -> Tensor:
        """Next actions, normalised.  # (B, chunk, A)

        Args:
            batch: Frames (B, F, C, H, W), or only the current one (B, C, H, W), which then joins the running episodes.
            noise: Fixes the sample.  # (B, chunk, A)
            steps: Of which step of its episode each observation is. If None: where `select_action` counts, the current
                one; with real-time chunking, the one that the last chunk's remainder tells; else the next one.
            sessions: Whose episode each observation belongs to; if None, one session a row.
            inference_delay, prev_chunk_left_over, execution_horizon: Of real-time chunking, see LeRobot's
                `RTCProcessor.denoise_step`.

        Raises:
            ValueError: The observation or the noise is not what the policy was trained on, or steps and sessions are
                not one for each observation.
        """
        observation = self._observe(batch)
        if steps is None:
            self._step = self._next_step(prev_chunk_left_over)
            steps = [self._step] * len(observation)
        sessions = range(len(observation)) if sessions is None else sessions
        if not len(steps) == len(sessions) == len(observation):
            raise ValueError(f"got {len(steps)} steps and {len(sessions)} sessions for {len(observation)} observations")
        steered = None
        if self.rtc_processor:
            steered = steering(
                self.rtc_processor,
                inference_delay=inference_delay,
                prev_chunk_left_over=prev_chunk_left_over,
                execution_horizon=execution_horizon,
            )
        chunk = self._decide(observation, steps, sessions, noise, steered)
        self._last_chunk = chunk[0] if self.rtc_processor else None
        return chunk

    @torch.inference_mode(False)
    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], noise: Tensor | None = None) -> Tensor:
        """Action for the current step, normalised; looks again after `n_action_steps` of them.  # (B, A)

        Raises:
            ValueError: Real-time chunking is on, which needs whole chunks.
        """
        if self.rtc_processor:
            raise ValueError("real-time chunking takes whole chunks from predict_action_chunk; unset rtc_config")
        observation = self._observe(batch)
        self._step, self._is_counting = self._step + 1, True
        steps, sessions = [self._step] * len(observation), range(len(observation))
        queue = self.action_queue
        if queue:
            if len(observation) != len(queue[0]):
                raise ValueError(
                    f"got {len(observation)} observations, but decided for {len(queue[0])}; call reset() between"
                )
            guided = self.model.is_guided
            self.perception.remember(observation, steps, sessions, guided=guided, steps_to_decision=len(queue))
        else:
            chunk = self._decide(observation, steps, sessions, noise)
            queue.extend(chunk[:, : self.config.n_action_steps].unbind(1))
        return queue.popleft()

    def _observe(self, batch: dict[str, Any]) -> Observation:
        return Observation.from_batch(batch, self.config, self.backbone.token_grid)

    def _next_step(self, left_over: Tensor | None) -> int:
        if self._is_counting:
            return self._step
        executed = None
        if left_over is not None and self._last_chunk is not None:
            executed = executed_steps(self._last_chunk, left_over.view(-1, left_over.shape[-1]))
        return self._step + (1 if executed is None else executed)

    def _decide(
        self,
        observation: Observation,
        steps: Sequence[int],
        sessions: Sequence[Hashable],
        noise: Tensor | None,
        steered: Steering | None = None,
    ) -> Tensor:
        if self.training:
            self.eval()
        features = self.perception.for_decision(observation, steps, sessions, guided=self.model.is_guided)
        return self.model.sample(features, observation.state, noise, steering=steered)

    # --- Real-time chunking ---

    def supports_rtc(self) -> bool:
        return True

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

    # --- PEFT and checkpoints ---

    def _get_default_peft_targets(self) -> dict[str, Any]:
        return default_adapters(**{"model.context": self.model.context, "model.expert": self.model.expert})

    def _validate_peft_config(self, peft_config: Any) -> None:
        super()._validate_peft_config(peft_config)
        check_adapters(peft_config, has_features=self.perception.store is not None)

    def push_model_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        warn_of_local_backbone(self.config)
        return super().push_model_to_hub(*args, **kwargs)

    def generate_model_card(
        self,
        dataset_repo_id: str,
        model_type: str,
        license: str | None,
        tags: list[str] | None,
        cfg: TrainPipelineConfig | None = None,
        dataset_meta: LeRobotDatasetMetadata | None = None,
    ) -> ModelCard:
        """As lerobot-train pushes it; qwenvla-card writes it with results."""
        return make_card(self.config, dataset_repo_id, cfg, dataset_meta)

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
