"""Whether a policy does what it is told: GoToObject in words and pairs it knows, in new ones, misled, and told another.

    python benchmarks/go_to_object.py [--seeds 1000 1001 1002]

Records 1,600 episodes, trains on them once per seed, and plays 100 episodes of each variation on seeds that were never
recorded. Prints one JSON line: successes with 95 % intervals, of every training seed, beside the scripted player, which
knows its goal, and random actions. `same_room` counts the rooms in which each of three objects is reached when it is
named; of those that lerobot-eval films, the first becomes `outputs/go-to-object/same_room-SEED.webp`. What was done
before is not done again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lerobot_qwenvla.demo.animation import read_rollouts, write_animation
from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import Stage, run_stages
from lerobot_qwenvla.demo.stages import baselines, evaluated, featured, recorded, trained
from lerobot_qwenvla.evaluation.success import read_successes, success_rate
from lerobot_qwenvla.miniworld.tasks import RECORDED, SECOND_OBJECT, THIRD_OBJECT, VARIATIONS

OPTIONS = DemoConfig(
    output_dir=Path("outputs/go-to-object"),
    train_config=Path("configs/go_to_object.yaml"),
    task="GoToObject",
    episodes=1600,
    eval_episodes=100,
)
# Played in the same rooms, and each told another object of them.
SAME_ROOM = RECORDED, SECOND_OBJECT, THIRD_OBJECT


def count_same_room(plays: dict[str, Stage]) -> dict[str, Any]:
    """In how many rooms all three were reached."""
    successes = zip(*(read_successes(plays[variation].output) for variation in SAME_ROOM), strict=True)
    return success_rate([all(room) for room in successes])


def film_same_room(plays: dict[str, Stage], path: Path) -> None:
    """The first room that was filmed and in which all three were reached; nothing where there is none."""
    seeds = range(OPTIONS.eval_first_seed, OPTIONS.eval_first_seed + OPTIONS.eval_episodes)
    rooms = zip(*(read_rollouts(plays[variation].output, seeds) for variation in SAME_ROOM), strict=True)
    reached = next((room for room in rooms if all(rollout.success for rollout in room)), None)
    if reached:
        write_animation(reached, "One room, told to go to each of three objects", path)


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
        results[run] = {variation: success_rate(read_successes(stage.output)) for variation, stage in plays.items()}
        results[run]["same_room"] = count_same_room(plays)
        film_same_room(plays, OPTIONS.output_dir / f"same_room-{run}.webp")
        results[run]["train_seconds"] = seconds[f"train-{run}"]
    players = baselines(OPTIONS)
    run_stages([players], OPTIONS.output_dir)
    played = json.loads(players.output.read_text())
    print(
        json.dumps(
            {
                "episodes": OPTIONS.eval_episodes,
                **{player: success_rate(played[player]) for player in ("scripted", "random")},
                "train_seeds": results,
            }
        )
    )


if __name__ == "__main__":
    main()
