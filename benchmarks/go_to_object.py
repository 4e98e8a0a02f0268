"""Whether a policy does what it is told: GoToObject in words and pairs it knows, in new ones, and misled.

    python benchmarks/go_to_object.py [--seeds 1000 1001 1002]

Records 1,600 episodes, trains on them once per seed, and plays 100 episodes of each variation on seeds that were never
recorded. Prints one JSON line: successes with 95 % intervals, of every training seed, beside the scripted player, which
knows its goal, and random actions. What was done before is not done again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import run_stages
from lerobot_qwenvla.demo.stages import baselines, evaluated, featured, recorded, trained
from lerobot_qwenvla.evaluation.success import read_successes, wilson_interval
from lerobot_qwenvla.miniworld.tasks import VARIATIONS

OPTIONS = DemoConfig(
    output_dir=Path("outputs/go-to-object"),
    train_config=Path("configs/go_to_object.yaml"),
    task="GoToObject",
    episodes=1600,
    eval_episodes=100,
)


def rate(successes: list[bool]) -> dict[str, Any]:
    return {
        "success": sum(successes) / len(successes),
        "interval_95": [round(bound, 3) for bound in wilson_interval(sum(successes), len(successes))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[DemoConfig.seed], help="of the training runs")
    seeds = parser.parse_args().seeds
    results: dict[str, Any] = {}
    for seed in seeds:
        options = replace(OPTIONS, seed=seed)
        run = str(seed)
        plays = {
            variation: evaluated(options, f"{variation}-{run}", run, variation=variation) for variation in VARIATIONS
        }
        stages = [*recorded(options), featured(options), trained(options, run), *plays.values()]
        seconds = run_stages(stages, options.output_dir)
        results[run] = {variation: rate(read_successes(stage.output)) for variation, stage in plays.items()}
        results[run]["train_seconds"] = seconds[f"train-{run}"]
    players = baselines(OPTIONS)
    run_stages([players], OPTIONS.output_dir)
    played = json.loads(players.output.read_text())
    print(
        json.dumps(
            {
                "episodes": OPTIONS.eval_episodes,
                **{player: rate(played[player]) for player in ("scripted", "random")},
                "train_seeds": results,
            }
        )
    )


if __name__ == "__main__":
    main()
