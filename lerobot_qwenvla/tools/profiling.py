"""`qwenvla-profile`: how long each part of a decision takes, with and without remembered frames.

Takes `--policy.path=CHECKPOINT`, or `--policy.type=qwenvla` and the policy's other settings, as LeRobot's commands do;
prints tables, and writes `profile.json` and `profile.png` to `--output`.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from draccus.utils import DraccusException
from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig, parser
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools.decision_profile import PARTS, Profile, Timing, profile
from recordings_to_lerobot.actions.channels import CHANNELS

REPEATS_ON_CPU, REPEATS_ON_GPU = 5, 200  # of which p99 is about the second slowest

# Of the parts in their order, and of what they leave.
COLORS = ("#6a9bd8", "#1f5fbf", "#123a75", "#a34f05", "#d9730d", "#8a8f98")


@dataclass
class ProfileConfig:
    """The policy to profile, and:"""

    policy: PreTrainedConfig | None = None
    # Folder to write profile.json and profile.png to.
    output: Path = Path("outputs/profile")
    # Decisions of each kind; by default 5 on a CPU, 200 on a GPU.
    repeats: int | None = None
    task: str = "go to the red box"

    @classmethod
    def __get_path_fields__(cls) -> list[str]:
        """Lets LeRobot's parser take `--policy.path`."""
        return ["policy"]


def table(profile: Profile) -> Table:
    """Milliseconds of every part of both kinds of decision: median, 99th percentile, and the median's share."""
    result = Table(title=profile.device)
    result.add_column("part")
    for kind in profile.decisions:
        for heading in (f"{kind}\nms", "p99", "share"):
            result.add_column(heading, justify="right")

    def add_row(name: str, timings: list[Timing | float]) -> None:
        cells = []
        for timing, decision in zip(timings, profile.decisions.values(), strict=True):
            p50_ms, p99 = (timing.p50_ms, f"{timing.p99_ms:.1f}") if isinstance(timing, Timing) else (timing, "")
            cells += [f"{p50_ms:.1f}", p99, f"{p50_ms / decision.whole.p50_ms:.0%}"]
        result.add_row(name, *cells)

    decisions = profile.decisions.values()
    for part in PARTS:
        add_row(part, [decision.parts[part] for decision in decisions])
    add_row("other", [decision.other_ms for decision in decisions])
    result.add_section()
    add_row("decision", [decision.whole for decision in decisions])
    for name, counts in (
        ("frames looked at", [d.frames_new for d in decisions]),
        ("frames remembered", [d.frames_remembered for d in decisions]),
    ):
        result.add_row(name, *(cell for count in counts for cell in (str(count), "", "")))
    return result


def facts(profile: Profile) -> Table:
    """What else is to be known of a policy's decisions."""
    result = Table(show_header=False)
    result.add_row("a solver step of the expert", f"{profile.solver_step_ms:.1f} ms")
    result.add_row("reading an instruction, once", f"{profile.instruction_ms:.1f} ms")
    result.add_row("memory", f"{profile.memory_mb:,.0f} MB")
    result.add_row("backbone layers in 4-bit NF4", f"{profile.nf4_layers} of {profile.linear_layers}")
    result.add_row("4-bit weights made whole", "yes" if profile.dequantize else "no")
    result.add_row("solver compiled", profile.compile_mode or "no")
    return result


def figure(profile: Profile) -> Figure:
    """Both kinds of decision as bars of their parts' medians; a part too short for its number has it in the legend."""
    decisions = list(profile.decisions.values())
    medians_ms = {part: [decision.parts[part].p50_ms for decision in decisions] for part in PARTS}
    medians_ms["other"] = [decision.other_ms for decision in decisions]
    longest_ms = max(map(sum, zip(*medians_ms.values(), strict=True)))
    result = Figure(figsize=(9, 3), layout="constrained")
    axes = result.subplots()
    starts_ms = [0.0] * len(decisions)
    for (part, parts_ms), color in zip(medians_ms.items(), COLORS, strict=True):
        numbers = [f"{ms:.1f}" for ms in parts_ms]
        label = f"{part}\n{' / '.join(numbers)} ms"
        bars = axes.barh([*profile.decisions], parts_ms, left=starts_ms, color=color, height=0.6, label=label)
        shown = [number if ms > 0.06 * longest_ms else "" for number, ms in zip(numbers, parts_ms, strict=True)]
        axes.bar_label(bars, shown, label_type="center", color="white", fontsize=9)
        starts_ms = [start + ms for start, ms in zip(starts_ms, parts_ms, strict=True)]
    wholes = [f"{decision.whole.p50_ms:.1f} ms, p99 {decision.whole.p99_ms:.1f}" for decision in decisions]
    axes.bar_label(bars, wholes, padding=6, weight="bold")
    axes.set(xlim=(0, 1.3 * longest_ms), ylim=(1.5, -0.5), xlabel="ms")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(f"A decision on {profile.device}", loc="left", fontsize=10)
    result.legend(loc="outside lower center", ncols=len(medians_ms), frameon=False, fontsize=8)
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
    (config.output / "profile.json").write_text(json.dumps(asdict(result), indent=2), encoding="utf-8")
    figure(result).savefig(config.output / "profile.png", dpi=160)
    console = Console()
    console.print(table(result))
    console.print(facts(result))


def main() -> None:
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-profile: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()
