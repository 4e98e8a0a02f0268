"""How the scripted player and random actions fare in every Miniworld task.

    python benchmarks/tasks.py [--tasks WallGap TMaze] [--episodes 100] [--first_seed 200000]

Prints one JSON line: success with its 95 % interval, steps in the mean of all episodes and of the successful ones, the
mean reward (in PickupObjects, the objects collected), and the seconds all episodes took.
"""

import argparse
import json
import time
from statistics import fmean
from typing import Any

from lerobot_qwenvla.evaluation.success import success_rate
from lerobot_qwenvla.miniworld.tasks import TASKS
from lerobot_qwenvla.recorder.play import PLAYERS, play_seeds


def measure(player: str, task: str, seeds: range, canvas: int) -> dict[str, Any]:
    start = time.monotonic()
    outcomes = play_seeds(player, task, seeds, canvas, canvas)
    seconds = time.monotonic() - start
    successful = [outcome.steps for outcome in outcomes if outcome.success]
    return {
        **success_rate([outcome.success for outcome in outcomes]),
        "mean_steps": round(fmean(outcome.steps for outcome in outcomes), 1),
        "mean_steps_of_successes": round(fmean(successful), 1) if successful else None,
        "mean_reward": round(fmean(outcome.reward for outcome in outcomes), 2),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--first_seed", type=int, default=200_000)
    parser.add_argument("--canvas", type=int, default=128, help="pixels each way")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.episodes)
    results = {
        task: {player: measure(player, task, seeds, options.canvas) for player in PLAYERS} for task in options.tasks
    }
    print(json.dumps({"episodes": options.episodes, "first_seed": options.first_seed, "tasks": results}))


if __name__ == "__main__":
    main()
