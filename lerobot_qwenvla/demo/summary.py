"""`summary.json`: what the demo measured, with the seeds and seconds behind it."""

import json
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.stages import checkpoint_of
from recordings_to_lerobot.dataset.names import RECORDINGS_FILE


def summarize(config: DemoConfig, seconds: dict[str, float]) -> dict[str, Any]:
    """Collects what the stages of a finished run wrote."""
    out = config.output_dir
    baselines = json.loads((out / "baselines.json").read_text())
    successes = {"policy": read_successes(out / f"evaluate-{config.seed}")}
    successes |= {player: baselines[player] for player in ("scripted", "random")}
    checkpoint = checkpoint_of(out, str(config.seed))
    backbone_bytes = (out / "backbone" / "model.safetensors").stat().st_size
    dataset = json.loads((out / "dataset" / "meta" / "info.json").read_text())
    with (out / "dataset" / RECORDINGS_FILE).open() as recordings:
        recorded_seeds = [json.loads(line)["meta"]["seed"] for line in recordings]
    assert set(recorded_seeds).isdisjoint(baselines["seeds"])
    return {
        "task": config.task,
        "players": {
            "policy": f"QwenVLA on a backbone of {backbone_bytes / 1e6:.0f} MB with random weights",
            "scripted": "the scripted player it learned from",
            "random": "random actions",
        },
        "success": {player: sum(s) / len(s) for player, s in successes.items()},
        "success_interval_95": {player: wilson_interval(sum(s), len(s)) for player, s in successes.items()},
        "failed_seeds": {
            player: [seed for seed, ok in zip(baselines["seeds"], s, strict=True) if not ok]
            for player, s in successes.items()
        },
        "eval_seeds": baselines["seeds"],
        "recorded_seeds": recorded_seeds,
        "train_seed": config.seed,
        "canvas_px": config.canvas,
        "episodes": dataset["total_episodes"],
        "frames": dataset["total_frames"],
        "checkpoint_bytes": (checkpoint / "model.safetensors").stat().st_size,
        "checkpoint": str(checkpoint),
        "seconds": seconds,
        "seconds_total": round(sum(seconds.values()), 1),
    }


def read_successes(eval_dir: Path) -> list[bool]:
    """Success of every episode of a lerobot-eval run, in the order of their seeds."""
    evaluation = json.loads((eval_dir / "eval_info.json").read_text())
    return [bool(success) for task in evaluation["per_task"] for success in task["metrics"]["successes"]]


def success_table(summary: dict[str, Any]) -> str:
    """Who reaches the goal how often, as lines for a terminal."""
    title = f"Reaches the goal on {len(summary['eval_seeds'])} seeds never trained on"
    width = max(len(title), *map(len, summary["players"].values()))
    lines = [f"{title:{width}}         95 % interval"]
    for player, name in summary["players"].items():
        low, high = summary["success_interval_95"][player]
        lines.append(f"  {name:{width - 2}}  {summary['success'][player]:5.0%}  {low:.0%}–{high:.0%}")
    return "\n".join(lines)


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a success rate (Wilson 1927), sensible also for 0 of n and n of n."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, z2n = successes / trials, z * z / trials
    center = (rate + z2n / 2) / (1 + z2n)
    half_width = z / (1 + z2n) * math.sqrt(rate * (1 - rate) / trials + z2n / (4 * trials))
    return max(0.0, center - half_width), min(1.0, center + half_width)
