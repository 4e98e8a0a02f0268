"""How long a decision of a policy takes, as a whole and part by part, with and without remembered frames."""

import platform
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from lerobot.utils.constants import OBS_STATE
from torch import Tensor, nn

from lerobot_qwenvla.backbone.prompt import HIDDEN_INSTRUCTION
from lerobot_qwenvla.backbone.quantization import is_nf4
from lerobot_qwenvla.policy.algorithm.context import Features
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools.stopwatch import Stopwatch

# What a decision goes through, in its order.
PARTS = ("image preparation", "vision tower", "language layers", "context keys, values", "action expert")
# CUDA graphs are recorded in the second decision.
WARM_UPS, WARM_UPS_COMPILED = 1, 3


@dataclass(frozen=True)
class Timing:
    """Median and 99th percentile."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Decision:
    """How long decisions took as a whole, and each part by itself; frames are counted over all cameras.

    `other_ms` is what the parts' medians leave of the whole's.
    """

    whole: Timing
    parts: dict[str, Timing]
    other_ms: float
    frames_new: int
    frames_remembered: int


@dataclass(frozen=True)
class Profile:
    """Where the time and the memory of a policy's decisions go.

    `cached` decides at every step, so that only the current frame is new; to `uncached` all its frames are. Both know
    the instruction, which took `instruction_ms` once. `nf4_layers` are the linear layers of text layers and vision
    tower that really hold 4-bit NF4 weights.
    """

    device: str
    backbone: str
    dequantize: bool
    compile_mode: str | None
    repeats: int
    decisions: dict[str, Decision]
    solver_step_ms: float
    instruction_ms: float
    memory_mb: float
    nf4_layers: int
    linear_layers: int


def profile(policy: QwenVLAPolicy, *, repeats: int, task: str) -> Profile:
    """Times decisions about random pictures, made as lerobot-eval makes them.

    Raises:
        ValueError: `repeats` is less than 1.
    """
    if repeats < 1:
        raise ValueError(f"--repeats must be at least 1, got {repeats}")
    config, backbone, device = policy.config, policy.backbone, policy.model.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    backbone.load(device)
    watch = Stopwatch(device)
    with torch.no_grad():  # as the policy decides: with inference_mode, a compiled solver would be compiled again
        cached = _time_decisions(policy, repeats, task, cached=True)
        uncached = _time_decisions(policy, repeats, task, cached=False)
        for _ in range(repeats):
            watch("instruction", lambda: backbone.prefill([task]))
    policy.reset()
    linear_layers = [layer for layer in backbone.modules() if isinstance(layer, nn.Linear)]
    return Profile(
        device=_device_name(device),
        backbone=config.backbone,
        dequantize=config.dequantize,
        compile_mode=config.compile_mode if config.compile_model else None,
        repeats=repeats,
        decisions={"cached": cached, "uncached": uncached},
        solver_step_ms=cached.parts["action expert"].p50_ms / config.num_inference_steps,
        instruction_ms=watch.percentile_ms("instruction", 50),
        memory_mb=_memory_mb(device),
        nf4_layers=sum(is_nf4(layer) for layer in linear_layers),
        linear_layers=len(linear_layers),
    )


def _time_decisions(policy: QwenVLAPolicy, repeats: int, task: str, *, cached: bool) -> Decision:
    """Whole decisions, and after each its parts one by one, of the same sizes."""
    config, memory, watch = policy.config, policy.perception.memory, Stopwatch(policy.model.device)
    oldest_frame = -config.frame_offsets[0]  # steps before the current one
    warm_ups = (WARM_UPS_COMPILED if config.compile_model else WARM_UPS) + oldest_frame * cached
    policy.reset()
    for step in range(oldest_frame, oldest_frame + warm_ups + repeats):
        if step == oldest_frame + warm_ups:
            watch.turns_ms.clear()
        if not cached:
            policy.reset()
            for earlier in range(step - oldest_frame, step):
                memory.push(_pictures(config), [0], [earlier])
        observation = {**_pictures(config), "task": [task]}
        if state := config.robot_state_feature:
            observation[OBS_STATE] = torch.rand(1, *state.shape, device=config.device)
        misses, hits = memory.misses, memory.hits
        decide = partial(policy.predict_action_chunk, observation, steps=[step])
        with torch.autocast(watch.device.type, enabled=config.use_amp):
            watch("decision", decide)
        frames_new, frames_remembered = memory.misses - misses, memory.hits - hits
        time_parts(policy, observation, 1 if cached else config.num_frames, watch)
    whole, *parts = (
        Timing(watch.percentile_ms(piece, 50), watch.percentile_ms(piece, 99)) for piece in ("decision", *PARTS)
    )
    # Parts are timed by themselves: together they may take a little more than the decision.
    other_ms = max(0.0, whole.p50_ms - sum(part.p50_ms for part in parts))
    return Decision(whole, dict(zip(PARTS, parts, strict=True)), other_ms, frames_new, frames_remembered)


def _pictures(config: QwenVLAConfig) -> dict[str, Tensor]:
    """One of every camera.  # (1, C, H, W)"""
    return {name: torch.rand(1, *camera.shape, device=config.device) for name, camera in config.image_features.items()}


def time_parts(policy: QwenVLAPolicy, observation: dict[str, Any], new_frames: int, watch: Stopwatch) -> None:
    """Times the work of a decision, `new_frames` of a camera's frames being new, in steps that are waited for."""
    config, backbone, model = policy.config, policy.backbone, policy.model
    images = {camera: observation[camera].repeat(new_frames, 1, 1, 1) for camera in config.image_features}
    shapes = {camera: frames.shape[1:] for camera, frames in images.items()}
    patches = watch("image preparation", lambda: {c: backbone.prepare(frames) for c, frames in images.items()})
    visual = watch(
        "vision tower",
        lambda: {c: backbone.vision.encode_images(p, backbone.patch_grid(shapes[c])) for c, p in patches.items()},
    )  # (N, 1 + K, T, D)
    if config.frame_encoding == "joint":  # in one sequence, the new one and those kept
        visual = {c: v[:1].repeat(config.num_frames, 1, 1, 1)[None] for c, v in visual.items()}
    else:
        visual = {c: v[:, None] for c, v in visual.items()}
    readings = 1 + model.is_guided
    visual = {c: v.repeat(readings, 1, 1, 1, 1) for c, v in visual.items()}  # (B, F, 1 + K, T, D)
    texts = {c: [*observation["task"], HIDDEN_INSTRUCTION][:readings] * (len(v) // readings) for c, v in visual.items()}
    features = watch(
        "language layers",
        lambda: {c: backbone.read(v, texts[c], backbone.token_grid(shapes[c])) for c, v in visual.items()},
    )
    features = Features(
        {c: f[:1, :1].repeat(readings, config.num_frames, 1, 1) for c, f in features.items()},
        backbone.words(next(iter(texts.values()))[:readings], watch.device),
    )
    context = model.context, *(layer.attention.key_value for layer in model.expert.layers[::2])
    with watch.calls("context keys, values", *context), torch.autocast(watch.device.type, enabled=config.use_amp):
        watch("sample", lambda: model.sample(features, observation.get(OBS_STATE)))
    expert_ms = watch.turns_ms["sample"][-1] - watch.turns_ms["context keys, values"][-1]
    watch.turns_ms["action expert"].append(expert_ms)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu_info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", cpu_info.read_text()) if cpu_info.exists() else []
    return f"{models[0] if models else platform.processor()}, {torch.get_num_threads()} thread(s)"


def _memory_mb(device: torch.device) -> float:
    """The most that a GPU held while it was profiled, or what this process holds."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return psutil.Process().memory_info().rss / 1e6
