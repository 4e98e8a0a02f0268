"""Success of random actions and of the scripted player, on the seeds a policy is evaluated on."""

import json
from dataclasses import dataclass
from pathlib import Path

import draccus

from lerobot_qwenvla.recorder.play import evaluate_player


@dataclass
class BaselinesConfig:
    """Plays the baselines and writes their successes as JSON."""

    # File to write.
    output: Path
    task: str = "OneRoom"
    # Width and height of the screen, in pixels.
    canvas: int = 128
    episodes: int = 50
    first_seed: int = 100_000


def main() -> None:
    config = draccus.parse(BaselinesConfig)
    seeds = range(config.first_seed, config.first_seed + config.episodes)
    successes = {
        player: evaluate_player(player, config.task, seeds, config.canvas, config.canvas)
        for player in ("scripted", "random")
    }
    config.output.write_text(json.dumps({"seeds": list(seeds), **successes}))


if __name__ == "__main__":
    main()
