"""One policy for all Miniworld tasks, told what to do, beside scripted players, random actions and single tasks.

    python benchmarks/all_tasks.py [--tasks OneRoom TMaze] [--seeds 1000 1001 1002] [--single]

Records 100 episodes of each task into one dataset, trains on all of them together once per seed, and plays 100 episodes
of each task on seeds that were never recorded, in recorded words and in new ones. With --single, also trains a policy
of the same size and steps on each task alone. Prints one JSON line: successes with 95 % intervals and the mean reward
(in PickupObjects, the objects collected). What was done before is not done again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import run_stages
from lerobot_qwenvla.demo.stages import baselines, evaluated, featured, recorded, trained
from lerobot_qwenvla.evaluation.success import success_rate
from lerobot_qwenvla.miniworld.tasks import NEW_WORDS, RECORDED, TASKS

OPTIONS = DemoConfig(
    output_dir=Path("outputs/all-tasks"),
    train_config=Path("configs/all_tasks.yaml"),
    episodes=100,
    eval_episodes=100,
)


def read_tasks(eval_dir: Path) -> dict[str, Any]:
    """What lerobot-eval measured, by task."""
    measured = json.loads((eval_dir / "eval_info.json").read_text())["per_task"]
    return {
        task["task_group"]: success_rate(task["metrics"]["successes"])
        | {"mean_reward": round(fmean(task["metrics"]["sum_rewards"]), 2)}
        for task in measured
    }


def measure(options: DemoConfig, seed: int) -> dict[str, Any]:
    """Records, trains and evaluates with one seed: results by variation and task, and the seconds of training."""
    options, run = replace(options, seed=seed), str(seed)
    plays = {
        variation: evaluated(options, f"{variation}-{run}", run, variation=variation)
        for variation in (RECORDED, NEW_WORDS)
    }
    stages = [*recorded(options), featured(options), trained(options, run), *plays.values()]
    seconds = run_stages(stages, options.output_dir)
    results = {variation: read_tasks(stage.output) for variation, stage in plays.items()}
    return results | {"train_seconds": seconds[f"train-{run}"]}


def measure_players(options: DemoConfig, tasks: list[str]) -> dict[str, Any]:
    """Scripted player and random actions on the same seeds, by task."""
    stages = {task: baselines(replace(options, task=task), f"baselines-{task}") for task in tasks}
    run_stages(list(stages.values()), options.output_dir)
    played = {task: json.loads(stage.output.read_text()) for task, stage in stages.items()}
    return {player: {task: success_rate(played[task][player]) for task in tasks} for player in ("scripted", "random")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[DemoConfig.seed], help="of the training runs")
    parser.add_argument("--single", action="store_true", help="also train on each task alone")
    arguments = parser.parse_args()
    together = replace(OPTIONS, task=",".join(arguments.tasks))
    results: dict[str, Any] = {"episodes": OPTIONS.eval_episodes}
    results["together"] = {seed: measure(together, seed) for seed in arguments.seeds}
    if arguments.single:
        alone = {task: replace(OPTIONS, task=task, output_dir=OPTIONS.output_dir / task) for task in arguments.tasks}
        results["alone"] = {
            seed: {task: measure(options, seed) for task, options in alone.items()} for seed in arguments.seeds
        }
    print(json.dumps(results | measure_players(together, arguments.tasks)))


if __name__ == "__main__":
    main()
