"""Configuration of the `qwenvla` policy."""

from dataclasses import dataclass, field, fields
from typing import Any

from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature, PreTrainedConfig
from lerobot.optim import AdamWConfig, CosineDecayWithWarmupSchedulerConfig
from lerobot.utils.constants import ACTION

from lerobot_qwenvla.backbone.settings import BackboneSettings
from lerobot_qwenvla.features.columns import check_identity, column_of_camera, feature_columns, feature_identity
from lerobot_qwenvla.policy.solvers import TABLEAUS

FRAME_CACHINGS = ("lazy", "eager")
POOLINGS = ("none", "average", "learned")
TIME_WEIGHTINGS = ("none", "cosmap")


@PreTrainedConfig.register_subclass("qwenvla")
@dataclass
class QwenVLAConfig(PreTrainedConfig):
    """A frozen Qwen3-VL that looks at a few frames, and a flow-matching expert that writes the next actions.

    The state is normalised to [-1, 1] by the range seen in training, and so are actions; pictures go to the
    backbone's own image processor unchanged.
    """

    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: {
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode.MIN_MAX,
            "ACTION": NormalizationMode.MIN_MAX,
        }
    )

    # --- Backbone: frozen (but for adapters), never part of a checkpoint, restored from here ---
    # Hub name or local folder of a Qwen3-VL, and the Hub revision (branch, tag or commit) to take.
    backbone: str = "Qwen/Qwen3-VL-2B-Instruct"
    backbone_revision: str | None = None
    # Features are the hidden states after this many text layers; later layers are never built.
    vlm_layer: int = 14
    # Storage of the text layers, and of the vision tower: "4bit" (NF4, double quantised), "8bit" (LLM.int8) or "none".
    quantization: str = "4bit"
    vision_quantization: str = "none"
    # Makes 4-bit weights whole again once, after loading: the same values and about 1 GB more, instead of doing it for
    # every product, as bitsandbytes does at 144 tokens a picture.
    dequantize: bool = False
    # Type of the backbone's unquantised weights, and the autocast type of the expert in training.
    dtype: str = "bfloat16"

    # --- Observation ---
    # A picture is resized to about image_size² pixels (aspect ratio kept, sides multiples of 32): 144 tokens at 384.
    image_size: int = 384
    # Frames t - (num_frames-1)*frame_skip, ..., t - frame_skip, t; before an episode the first frame is repeated.
    num_frames: int = 3
    frame_skip: int = 2
    # "per_frame": each frame is a sequence of its own, so that it is encoded once for all decisions that look at it.
    # "joint": the frames of a camera are one sequence, and later ones have read the earlier ones. Both have the same
    # weights: what was trained jointly can act per frame.
    frame_encoding: str = "per_frame"
    # Neighbouring tokens of a picture are merged 2×2: "none", "average", or "learned" (starts as the average).
    token_pooling: str = "none"
    # Share of training samples whose state is hidden; 1 never looks at the state. What mouse and keyboard do now nearly
    # always tells what they do next, and a policy that has learned to copy it keeps doing what it once did by mistake.
    state_dropout: float = 0.0
    # Share of training samples whose instruction is hidden; 0.1 is usual for classifier-free guidance, which needs it.
    instruction_dropout: float = 0.0

    # --- Action expert ---
    # Names of the action's channels, taken from the dataset: a checkpoint is not trained on with others by mistake.
    action_names: list[str] | None = None
    # Actions predicted at once, and how many of them are executed before looking again.
    chunk_size: int = 50
    n_action_steps: int = 10
    # Layers alternate cross-attention to the context and causal self-attention over the chunk.
    expert_layers: int = 8
    expert_width: int = 512
    expert_heads: int = 8
    # Noise and time are drawn this often for each encoded observation of a training batch: more signal per picture, as
    # the backbone costs far more than the expert.
    noise_draws: int = 1
    # Weight of the training loss at time t: "none" is 1 at all times; "cosmap" is 2/(π·(1 − 2t + 2t²)), 0.64 at both
    # ends and 1.27 in the middle, where noise and action are hardest to tell apart (Esser et al. 2024, Scaling
    # Rectified Flow Transformers, section 3.1, as diffusers weights losses by it). Validation is never weighted.
    time_weighting: str = "none"
    # Recomputes the expert's activations in the backward pass: less memory, about a third more time in the expert.
    gradient_checkpointing: bool = False
    # torch.compile for the velocity that the solver asks for at each step, and its mode: "reduce-overhead" plays CUDA
    # graphs; "max-autotune", SmolVLA's, also tries out kernels, for minutes at the first decision.
    compile_model: bool = False
    compile_mode: str = "reduce-overhead"

    # --- Decisions ---
    # Steps from noise to action, and the solver that takes them: "euler", "heun" (2 velocities a step) or "rk4" (4).
    num_inference_steps: int = 10
    solver: str = "euler"
    # Classifier-free guidance: how far to follow the instruction; 1 is off and reads each frame once, not twice.
    guidance_scale: float = 1.0
    # When a frame is encoded: "lazy", when a decision looks at it, several at once; "eager", as it arrives, so that a
    # decision waits for one frame only. The work is the same.
    frame_caching: str = "lazy"
    # LeRobot's real-time chunking: a new chunk continues the one being executed. lerobot-rollout sets it, from
    # --inference.rtc; no field, as the import of its type would cost every command seconds.
    rtc_config = None

    # --- Training preset ---
    optimizer_lr: float = 1e-4
    # Learning rate of the projectors into and out of the expert, as a multiple of optimizer_lr.
    optimizer_projector_lr_scale: float = 1.0
    # Applies to matrices only; biases, norms and embeddings are never decayed.
    optimizer_weight_decay: float = 0.01
    optimizer_grad_clip_norm: float = 1.0
    # The rate rises linearly over the warm-up and falls along a cosine to a tenth at scheduler_decay_steps;
    # LeRobot shortens both in proportion when a run has fewer steps.
    scheduler_warmup_steps: int = 1_000
    scheduler_decay_steps: int = 30_000
    # Batches seen in training, counted by the policy and kept in its checkpoints: what chance decides about a sample is
    # drawn from the seed, this and the sample, so that a resumed run draws what an uninterrupted one would have.
    batches_trained: int = 0

    @property
    def frame_offsets(self) -> list[int]:
        """Steps from the current frame to each frame a decision looks at, oldest first, e.g. [-4, -2, 0]."""
        return [-self.frame_skip * age for age in reversed(range(self.num_frames))]

    @property
    def observation_delta_indices(self) -> list[int]:
        return self.frame_offsets

    @property
    def action_delta_indices(self) -> list[int]:
        return list(range(self.chunk_size))

    @property
    def reward_delta_indices(self) -> None:
        return None

    def set_dataset_feature_metadata(self, dataset_features: dict[str, dict[str, Any]]) -> None:
        """Takes up what LeRobot does not: the names of the actions, and the cameras behind precomputed features.

        LeRobot calls this with the dataset's features before it builds the policy, so that a checkpoint trained on
        precomputed features has the same inputs as one trained on pictures.

        Raises:
            ValueError: The checkpoint was trained on other actions, or the features were computed by another backbone
                or with other settings than this config's.
        """
        names = dataset_features.get(ACTION, {}).get("names")
        if isinstance(names, dict):  # {"motors": [...]}
            names = [name for group in names.values() for name in group]
        if self.action_names and _bare(names) != _bare(self.action_names):
            raise ValueError(
                f"the policy was trained on the actions {self.action_names}, the dataset has {names}; "
                "convert it in the same way, train from scratch, or pass --policy.action_names=null"
            )
        self.action_names = names
        for camera, info in feature_columns(dataset_features).items():
            check_identity(camera, info, feature_identity(self.backbone_settings, self.frame_offsets))
            self.input_features.pop(column_of_camera(camera), None)
            self.input_features[camera] = PolicyFeature(FeatureType.VISUAL, tuple(info["image_shape"]))

    @property
    def backbone_settings(self) -> BackboneSettings:
        """What the backbone is made of.

        Raises:
            ValueError: A setting of it is out of its range.
        """
        return BackboneSettings(**{each.name: getattr(self, each.name) for each in fields(BackboneSettings)})

    def validate_settings(self) -> None:
        """Checks the settings; not at construction, where draccus would replace the messages by its own.

        Raises:
            ValueError: A setting is out of its range.
        """
        _ = self.backbone_settings
        _check_choice("frame_caching", self.frame_caching, FRAME_CACHINGS)
        _check_choice("token_pooling", self.token_pooling, POOLINGS)
        _check_choice("time_weighting", self.time_weighting, TIME_WEIGHTINGS)
        _check_choice("solver", self.solver, tuple(TABLEAUS))
        for name in (
            "num_frames", "frame_skip", "chunk_size", "n_action_steps", "expert_layers",
            "expert_width", "expert_heads", "noise_draws", "num_inference_steps",
        ):  # fmt: skip
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"--policy.{name} must be at least 1, got {value}")
        for name in ("state_dropout", "instruction_dropout"):
            if not 0.0 <= (share := getattr(self, name)) <= 1.0:
                raise ValueError(f"--policy.{name} must be between 0 and 1, got {share}")
        if self.guidance_scale != 1 and not self.instruction_dropout:
            raise ValueError(
                f"--policy.guidance_scale={self.guidance_scale} needs a policy trained with instructions hidden now "
                "and then: train with --policy.instruction_dropout=0.1, or leave guidance_scale at 1"
            )
        if self.n_action_steps > self.chunk_size:
            raise ValueError(
                f"--policy.n_action_steps={self.n_action_steps} exceeds --policy.chunk_size={self.chunk_size}: "
                "more actions would be executed than are predicted"
            )
        if self.expert_width % (2 * self.expert_heads):
            raise ValueError(
                f"--policy.expert_width={self.expert_width} must be a multiple of twice "
                f"--policy.expert_heads={self.expert_heads}"
            )

    def validate_features(self) -> None:
        """Checks inputs and outputs.

        Raises:
            ValueError: They are not what a policy needs.
        """
        if not self.image_features:
            raise ValueError(
                "qwenvla needs at least one camera (observation.images.*), "
                f"got inputs {sorted(self.input_features or {})}"
            )
        if self.action_feature is None:
            raise ValueError(f"qwenvla needs an 'action' output, got {sorted(self.output_features or {})}")

    def get_optimizer_preset(self) -> AdamWConfig:
        return AdamWConfig(
            lr=self.optimizer_lr,
            betas=(0.9, 0.95),
            weight_decay=self.optimizer_weight_decay,
            grad_clip_norm=self.optimizer_grad_clip_norm,
        )

    def get_scheduler_preset(self) -> CosineDecayWithWarmupSchedulerConfig:
        return CosineDecayWithWarmupSchedulerConfig(
            peak_lr=self.optimizer_lr,
            decay_lr=self.optimizer_lr / 10,
            num_warmup_steps=self.scheduler_warmup_steps,
            num_decay_steps=self.scheduler_decay_steps,
        )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"--policy.{name} must be one of {', '.join(choices)}, got {value!r}")


def _bare(names: list[str] | None) -> list[str] | None:
    """Without the ending that LeRobot wants of robots' channels: `mouse.x.vel` is `mouse.x`, recorded otherwise."""
    return names and [name.removesuffix(".vel") for name in names]
