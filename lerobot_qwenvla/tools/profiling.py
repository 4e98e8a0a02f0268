"""`qwenvla-profile`: how long each part of a decision takes, with and without remembered frames.

Takes `--policy.path=CHECKPOINT`, or `--policy.type=qwenvla` and the policy's other settings, as LeRobot's commands do;
prints a table, and writes `profile.json` and `profile.png` to `--output`.
"""

import json
import platform
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from draccus.utils import DraccusException
from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig, parser
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import nn

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.backbone.prompt import chat_prompt
from lerobot_qwenvla.backbone.vision_tower import VisionTower
from lerobot_qwenvla.policy import modeling_qwenvla
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools.parameters import is_nf4
from recordings_to_lerobot.action_schema import CHANNELS

REPEATS_ON_CPU, REPEATS_ON_GPU = 5, 30
# What a decision goes through, in its order: the method that does it, and its color.
PARTS = {
    "image preparation": (FrozenBackbone, "prepare", "#6a9bd8"),
    "vision tower": (VisionTower, "look", "#1f5fbf"),
    "language layers": (FrozenBackbone, "read", "#123a75"),
    "context keys, values": (QwenVLAPolicy, "_keys_values", "#a34f05"),
    "action expert": (modeling_qwenvla, "integrate", "#d9730d"),
}
COLORS = {**{part: color for part, (_, _, color) in PARTS.items()}, "other": "#8a8f98"}


@dataclass
class ProfileConfig:
    """The policy to profile, and:"""

    policy: PreTrainedConfig | None = None
    # Folder to write profile.json and profile.png to.
    output: Path = Path("outputs/profile")
    # Decisions that medians are taken over; by default 5 on a CPU, 30 on a GPU.
    repeats: int | None = None
    task: str = "go to the red box"

    @classmethod
    def __get_path_fields__(cls) -> list[str]:
        """Lets LeRobot's parser take `--policy.path`."""
        return ["policy"]


@dataclass(frozen=True)
class Decision:
    """How long a decision took; `parts_ms` add up to `decision_ms`. Frames are counted over all cameras."""

    decision_ms: float
    parts_ms: dict[str, float]
    frames_new: int
    frames_remembered: int


@dataclass(frozen=True)
class Profile:
    """Where the time and the memory of a policy's decisions go.

    `cached` decides at every step, so that only the current frame is new; to `uncached` all its frames are. Of
    `repeats` decisions, each is the one of median length. Both know the instruction, which took `instruction_ms` once.
    `nf4_layers` are the linear layers of text layers and vision tower that really hold 4-bit NF4 weights.
    """

    device: str
    backbone: str
    repeats: int
    decisions: dict[str, Decision]
    solver_step_ms: float
    instruction_ms: float
    peak_memory_mb: float
    nf4_layers: int
    linear_layers: int


def profile(policy: QwenVLAPolicy, *, repeats: int, task: str) -> Profile:
    """Times decisions about random pictures, made as lerobot-eval makes them.

    Raises:
        ValueError: `repeats` is less than 1.
    """
    if repeats < 1:
        raise ValueError(f"--repeats must be at least 1, got {repeats}")
    device, backbone = torch.device(policy.config.device), policy.backbone
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    backbone.load()
    with torch.inference_mode(), torch.autocast(device.type, enabled=policy.config.use_amp):
        cached = _median_decision(policy, repeats, task, cached=True)
        uncached = _median_decision(policy, repeats, task, cached=False)
        instruction_ms = median(_read_instruction(backbone, device, task) for _ in range(repeats))
    policy.reset()
    linear_layers = [layer for layer in backbone.modules() if isinstance(layer, nn.Linear)]
    return Profile(
        device=_device_name(device),
        backbone=policy.config.backbone,
        repeats=repeats,
        decisions={"cached": cached, "uncached": uncached},
        solver_step_ms=cached.parts_ms["action expert"] / policy.config.num_inference_steps,
        instruction_ms=instruction_ms,
        peak_memory_mb=_peak_memory_mb(device),
        nf4_layers=sum(is_nf4(layer) for layer in linear_layers),
        linear_layers=len(linear_layers),
    )


def _median_decision(policy: QwenVLAPolicy, repeats: int, task: str, *, cached: bool) -> Decision:
    oldest_frame = -policy.config.frame_offsets[0]  # steps before the current one
    warm_up = 1 + oldest_frame * cached
    policy.reset()
    decisions = []
    for _ in range(warm_up + repeats):
        if not cached:
            policy.reset()
            for _ in range(oldest_frame):
                policy.cache.push(_pictures(policy.config), [0])
        decisions.append(_decide(policy, task))
    return sorted(decisions[warm_up:], key=lambda decision: decision.decision_ms)[repeats // 2]


def _decide(policy: QwenVLAPolicy, task: str) -> Decision:
    device, cache = torch.device(policy.config.device), policy.cache
    observation = {**_pictures(policy.config), "task": [task]}
    if state := policy.config.robot_state_feature:
        observation[OBS_STATE] = torch.rand(1, *state.shape, device=device)
    misses, hits = cache.misses, cache.hits
    with _stopwatch(device) as parts_ms:
        start_ms = _now_ms(device)
        policy.predict_action_chunk(observation)
        decision_ms = _now_ms(device) - start_ms
    parts_ms["other"] = decision_ms - sum(parts_ms.values())
    return Decision(decision_ms, parts_ms, frames_new=cache.misses - misses, frames_remembered=cache.hits - hits)


def _pictures(config: QwenVLAConfig) -> dict[str, torch.Tensor]:
    """One of every camera.  # (1, C, H, W)"""
    return {name: torch.rand(1, *camera.shape, device=config.device) for name, camera in config.image_features.items()}


def _read_instruction(backbone: FrozenBackbone, device: torch.device, task: str) -> float:
    """Milliseconds to read it for the first time."""
    start_ms = _now_ms(device)
    backbone.text.read_prefix(torch.tensor(chat_prompt(backbone.processor, task).prefix, device=device))
    return _now_ms(device) - start_ms


@contextmanager
def _stopwatch(device: torch.device) -> Iterator[dict[str, float]]:
    """Adds up the milliseconds that each of `PARTS` takes while this lasts."""
    spent_ms = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, method: Callable) -> Callable:
        def run(*args: Any, **kwargs: Any) -> Any:
            start_ms = _now_ms(device)
            result = method(*args, **kwargs)
            spent_ms[part] += _now_ms(device) - start_ms
            return result

        return run

    with ExitStack() as stack:
        for part, (owner, name, _) in PARTS.items():
            method = getattr(owner, name)
            stack.callback(setattr, owner, name, method)
            setattr(owner, name, timed(part, method))
        yield spent_ms


def _now_ms(device: torch.device) -> float:
    """The time when the device has done all it was asked to."""
    torch.get_device_module(device).synchronize()
    return 1000 * perf_counter()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu_info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", cpu_info.read_text()) if cpu_info.exists() else []
    return f"{models[0] if models else platform.machine()}, {torch.get_num_threads()} thread(s)"


def _peak_memory_mb(device: torch.device) -> float:
    """Of the GPU while it was profiled, or of this process since it started."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def table(profile: Profile) -> Table:
    """Milliseconds and share of every part of both kinds of decision; time and memory beside them."""
    decisions = profile.decisions.values()
    result = Table(title=profile.device)
    result.add_column("part")
    for kind in profile.decisions:
        result.add_column(f"{kind}, ms", justify="right")
        result.add_column("share", justify="right")
    for part in COLORS:
        times = [(d.parts_ms[part], d.parts_ms[part] / d.decision_ms) for d in decisions]
        result.add_row(part, *(cell for ms, share in times for cell in (f"{ms:.1f}", f"{share:.0%}")))
    result.add_section()
    result.add_row("decision", *(cell for d in decisions for cell in (f"{d.decision_ms:.1f}", "100%")))
    frames = [f"{d.frames_new} new, {d.frames_remembered} kept" for d in decisions]
    result.add_row("frames", *(cell for text in frames for cell in (text, "")))
    result.add_section()
    result.add_row("a solver step of the expert", f"{profile.solver_step_ms:.1f}")
    result.add_row("reading an instruction, once", f"{profile.instruction_ms:.1f}")
    result.add_row("peak memory, MB", f"{profile.peak_memory_mb:,.0f}")
    result.add_row("backbone layers in 4-bit NF4", f"{profile.nf4_layers} of {profile.linear_layers}")
    return result


def figure(profile: Profile) -> Figure:
    """Both kinds of decision as bars of their parts; a part too short for its number has it in the legend."""
    decisions = list(profile.decisions.values())
    longest_ms = max(decision.decision_ms for decision in decisions)
    result = Figure(figsize=(9, 3), layout="constrained")
    axes = result.subplots()
    starts_ms = [0.0] * len(decisions)
    for part, color in COLORS.items():
        parts_ms = [decision.parts_ms[part] for decision in decisions]
        numbers = [f"{ms:.1f}" for ms in parts_ms]
        label = f"{part}\n{' / '.join(numbers)} ms"
        bars = axes.barh([*profile.decisions], parts_ms, left=starts_ms, color=color, height=0.6, label=label)
        shown = [number if ms > 0.05 * longest_ms else "" for number, ms in zip(numbers, parts_ms, strict=True)]
        axes.bar_label(bars, shown, label_type="center", color="white", fontsize=9)
        starts_ms = [start + ms for start, ms in zip(starts_ms, parts_ms, strict=True)]
    axes.bar_label(bars, [f"{ms:.1f} ms" for ms in starts_ms], padding=6, weight="bold")
    axes.set(xlim=(0, 1.12 * longest_ms), ylim=(1.5, -0.5), xlabel="ms")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(f"A decision on {profile.device}", loc="left", fontsize=10)
    result.legend(loc="outside lower center", ncols=len(COLORS), frameon=False, fontsize=8)
    return result


def _make_policy(config: PreTrainedConfig | None) -> QwenVLAPolicy:
    if path := parser.get_path_arg("policy"):
        try:
            config = PreTrainedConfig.from_pretrained(path, cli_overrides=parser.get_cli_overrides("policy"))
        except (OSError, ValueError) as error:
            raise ValueError(f"--policy.path={path}: {error}") from error
    if not isinstance(config, QwenVLAConfig):
        raise ValueError("pass --policy.path=CHECKPOINT of a qwenvla policy, or --policy.type=qwenvla and its settings")
    if path:
        return QwenVLAPolicy.from_pretrained(path, config=config)
    if not config.input_features:
        vector = (len(CHANNELS),)
        config.input_features = {
            f"{OBS_IMAGES}.screen": PolicyFeature(FeatureType.VISUAL, (3, 384, 384)),
            OBS_STATE: PolicyFeature(FeatureType.STATE, vector),
        }
        config.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, vector)}
    return QwenVLAPolicy(config).to(config.device)


@parser.wrap()
def _run(config: ProfileConfig) -> None:
    policy = _make_policy(config.policy)
    default = REPEATS_ON_CPU if policy.config.device == "cpu" else REPEATS_ON_GPU
    result = profile(policy, repeats=default if config.repeats is None else config.repeats, task=config.task)
    config.output.mkdir(parents=True, exist_ok=True)
    (config.output / "profile.json").write_text(json.dumps(asdict(result), indent=2))
    figure(result).savefig(config.output / "profile.png", dpi=160)
    Console().print(table(result))


def main() -> None:
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-profile: {str(error).splitlines()[0]}")
