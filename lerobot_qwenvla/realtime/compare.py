"""`qwenvla-compare-realtime`: one checkpoint in a world that does not wait, by LeRobot's ways to run it.

Each way plays the same seeds, with decisions that are made slower and slower. What is done is not done again.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import draccus
import torch
from draccus.utils import DraccusException
from lerobot.configs import PreTrainedConfig, parser
from lerobot.policies.factory import make_pre_post_processors
from lerobot.utils.utils import init_logging
from tqdm import tqdm

from lerobot_qwenvla.miniworld.robot.config_miniworld_robot import MiniworldRobotConfig
from lerobot_qwenvla.miniworld.tasks import find_task
from lerobot_qwenvla.policy.checkpoint import config_of_path
from lerobot_qwenvla.realtime.measures import summary
from lerobot_qwenvla.realtime.pages import figure, markdown
from lerobot_qwenvla.realtime.players import (
    RTC_THRESHOLDS,
    AsyncClient,
    Rollout,
    SlowEngine,
    Slowness,
    SlowPolicy,
    rtc_config,
)
from lerobot_qwenvla.serving.background import serving
from lerobot_qwenvla.serving.server import PolicyServerConfig

# Rows of other settings could not stand in one table.
SETTINGS = ("task", "canvas", "fps", "episodes", "first_seed")


@dataclass(kw_only=True)
class CompareConfig:
    """The policy, and:"""

    policy: PreTrainedConfig | None = None
    # Of Miniworld, one whose instruction names no object of the episode.
    task: str = "OneRoom"
    # Width and height of the screen, in pixels.
    canvas: int = 128
    # Ticks of the world a second.
    fps: int = 10
    # Episodes of each row, and the seed of the first.
    episodes: int = 10
    first_seed: int = 100_000
    # Shares of a chunk that may be left when the asynchronous client shows the next observation.
    thresholds: list[float] = field(default_factory=lambda: [0.0, 0.3, 0.5, 0.7, 1.0])
    # Added to each decision.
    delays_ms: list[int] = field(default_factory=lambda: [0, 100, 300, 1000])
    # Folder of comparison.json, comparison.md and comparison.png.
    output_dir: Path = Path("outputs/realtime")

    @classmethod
    def __get_path_fields__(cls) -> list[str]:
        """Lets LeRobot's parser take `--policy.path`."""
        return ["policy"]

    def check(self) -> None:
        """Raises ValueError if a setting is out of its range."""
        if self.episodes < 1 or self.fps < 1:
            raise ValueError(f"--episodes={self.episodes} and --fps={self.fps} must be at least 1")
        if wrong := [each for each in self.thresholds if not 0 <= each <= 1]:
            raise ValueError(f"--thresholds: {wrong[0]} is not in [0, 1]")
        if wrong := [each for each in self.delays_ms if each < 0]:
            raise ValueError(f"--delays_ms: {wrong[0]} is below 0")
        if find_task(self.task).names_goal:
            raise ValueError(
                f"--task={self.task}: each episode has an instruction of its own, of which LeRobot's clients are given "
                "one for all; choose another task"
            )


def compare(config: CompareConfig, policy_path: str, policy: SlowPolicy) -> dict[str, Any]:
    """Plays all rows that have not been played yet.

    Raises:
        ValueError: The folder holds a comparison of other settings.
    """
    settings = {name: getattr(config, name) for name in SETTINGS}
    settings |= {"checkpoint": policy_path, "policy": draccus.encode(policy.config), "weights": _digest(policy)}
    notes_path = config.output_dir / "comparison.json"
    notes = {"settings": settings, "rows": []}
    if notes_path.exists():
        notes = json.loads(notes_path.read_text(encoding="utf-8"))
        if notes["settings"] != settings:
            raise ValueError(f"{notes_path} was made with other settings; choose another --output_dir")
    config.output_dir.mkdir(parents=True, exist_ok=True)
    done = {(row["way"], row["delay_ms"]) for row in notes["rows"]}
    slowness = policy.slowness
    with _ways(config, policy, policy_path) as ways:
        rows = [(way, delay_ms) for delay_ms in config.delays_ms for way in ways if (way, delay_ms) not in done]
        for way, delay_ms in tqdm(rows, unit="row", desc="Playing"):
            slowness.delay_s = delay_ms / 1000
            episodes = [
                ways[way].play(_world(config, seed))
                for seed in range(config.first_seed, config.first_seed + config.episodes)
            ]
            notes["rows"].append({"way": way, "delay_ms": delay_ms, **summary(episodes, config.fps)})
            unfinished = notes_path.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(notes, indent=1), encoding="utf-8")
            unfinished.replace(notes_path)
    return notes


def _digest(policy: SlowPolicy) -> str:
    """Of its weights: another training run may lie at the same path."""
    digest = hashlib.blake2b(digest_size=16)
    for _, weight in sorted(policy.state_dict().items()):
        digest.update(weight.cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def _world(config: CompareConfig, seed: int) -> MiniworldRobotConfig:
    return MiniworldRobotConfig(
        task=config.task, canvas_w=config.canvas, canvas_h=config.canvas, fps=config.fps, seed=seed
    )


@contextmanager
def _ways(config: CompareConfig, policy: SlowPolicy, path: str) -> Iterator[dict[str, Rollout | AsyncClient]]:
    """By name."""
    instruction = find_task(config.task).words[0]
    processors = make_pre_post_processors(policy.config, path)
    rtc = rtc_config(policy.config.chunk_size)
    engine, chunking_engine = SlowEngine(policy, *processors), SlowEngine(policy, *processors, rtc=rtc)
    engine.slowness = chunking_engine.slowness = policy.slowness
    engine.warm_up()
    server = PolicyServerConfig(port=0, fps=config.fps)
    with serving(engine, server, path) as address, serving(chunking_engine, server, path) as chunking_address:
        yield {
            "sync": Rollout(policy, *processors, instruction),
            **{f"async {g:g}": AsyncClient(engine, address, instruction, g) for g in config.thresholds},
            **{f"rtc {g:g}": Rollout(policy, *processors, instruction, rtc, g) for g in RTC_THRESHOLDS},
            "async 1 rtc": AsyncClient(chunking_engine, chunking_address, instruction, 1.0),
        }


@parser.wrap()
def _run(config: CompareConfig) -> None:
    config.check()
    policy_config, path = config_of_path()
    policy = SlowPolicy.from_pretrained(path, config=policy_config).eval()
    policy.slowness = Slowness()
    notes = compare(config, path, policy)
    page = markdown(notes["rows"])
    (config.output_dir / "comparison.md").write_text(page, encoding="utf-8")
    figure(notes["rows"]).savefig(config.output_dir / "comparison.png", dpi=150)
    print(page)


def main() -> None:
    init_logging()
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-compare-realtime: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("\nqwenvla-compare-realtime: interrupted; the same command goes on where it stopped")


if __name__ == "__main__":
    main()
