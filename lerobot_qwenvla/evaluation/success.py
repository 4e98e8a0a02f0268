"""How often a policy got there, and how sure that is."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any


def read_successes(eval_dir: Path) -> list[bool]:
    """Success of every episode of a lerobot-eval run, in the order of their seeds."""
    evaluation = json.loads((eval_dir / "eval_info.json").read_text(encoding="utf-8"))
    return [bool(success) for task in evaluation["per_task"] for success in task["metrics"]["successes"]]


def success_rate(successes: Sequence[bool]) -> dict[str, Any]:
    """Share of successes and its 95 % interval, as tables and JSON lines give them."""
    low, high = wilson_interval(sum(successes), len(successes))
    return {"success": sum(successes) / len(successes), "interval_95": [round(low, 3), round(high, 3)]}


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a success rate (Wilson 1927), sensible also for 0 of n and n of n."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, z2n = successes / trials, z * z / trials
    center = (rate + z2n / 2) / (1 + z2n)
    half_width = z / (1 + z2n) * math.sqrt(rate * (1 - rate) / trials + z2n / (4 * trials))
    return max(0.0, center - half_width), min(1.0, center + half_width)
