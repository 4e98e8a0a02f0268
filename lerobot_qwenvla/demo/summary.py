"""`summary.json`: what the demo measured, with the seeds and seconds behind it."""

import json
from typing import Any

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.stages import checkpoint_of
from lerobot_qwenvla.evaluation.success import read_successes, wilson_interval
from recordings_to_lerobot.dataset.names import RECORDINGS_FILE


def summarize(config: DemoConfig, seconds: dict[str, float]) -> dict[str, Any]:
    """Collects what the stages of a finished run wrote."""
    out = config.output_dir
    baselines = json.loads((out / "baselines.json").read_text())
    successes = {"policy": read_successes(out / f"evaluate-{config.seed}")}
    successes |= {player: baselines[player] for player in ("scripted", "random")}
    checkpoint = checkpoint_of(out, str(config.seed))
    backbone = config.backbone
    if backbone is None:
        backbone_bytes = (out / "backbone" / "model.safetensors").stat().st_size
        backbone = f"a backbone of {backbone_bytes / 1e6:.0f} MB with random weights"
    dataset = json.loads((out / "dataset" / "meta" / "info.json").read_text())
    with (out / "dataset" / RECORDINGS_FILE).open() as recordings:
        recorded_seeds = [json.loads(line)["meta"]["seed"] for line in recordings]
    assert set(recorded_seeds).isdisjoint(baselines["seeds"])
    return {
        "task": config.task,
        "players": {
            "policy": f"QwenVLA on {backbone}",
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


def success_table(summary: dict[str, Any]) -> str:
    """Who reaches the goal how often, as lines for a terminal."""
    title = f"Reaches the goal on {len(summary['eval_seeds'])} seeds never trained on"
    width = max(len(title), *map(len, summary["players"].values()))
    lines = [f"{title:{width}}         95 % interval"]
    for player, name in summary["players"].items():
        low, high = summary["success_interval_95"][player]
        lines.append(f"  {name:{width - 2}}  {summary['success'][player]:5.0%}  {low:.0%}–{high:.0%}")
    return "\n".join(lines)
