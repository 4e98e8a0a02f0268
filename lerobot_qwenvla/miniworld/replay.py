"""`qwenvla-replay`: plays a dataset of Miniworld again and compares what happens with what was recorded."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import draccus
from draccus.utils import DraccusException
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.constants import ACTION
from rich.console import Console
from rich.table import Table
from tqdm import tqdm
from yaml import YAMLError

from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.miniworld.episode_replay import PICTURES_AT_ONCE, EpisodeReplay, replay_episode
from lerobot_qwenvla.miniworld.tasks import TASKS
from lerobot_qwenvla.miniworld.worlds import OpenGLMissingError
from recordings_to_lerobot.actions.channels import CHANNELS
from recordings_to_lerobot.dataset.names import SCREEN
from recordings_to_lerobot.dataset.records import read_records


@dataclass
class ReplayConfig:
    """Play the episodes of a dataset again in Miniworld and compare what happens with what was recorded."""

    # Folder of the dataset.
    root: Path
    # How many episodes to play; all if not given.
    episodes: int | None = None
    # How much a picture may differ from what the video shows, as peak signal-to-noise ratio.
    min_psnr_db: float = 25.0

    def __post_init__(self):
        self.root = self.root.expanduser()


@dataclass(frozen=True)
class ReplayReport:
    """All episodes that were played again, and the numbers of those that Miniworld did not record."""

    episodes: list[EpisodeReplay]
    elsewhere: list[int]

    @property
    def failed(self) -> list[EpisodeReplay]:
        """Episodes that went otherwise than they were recorded."""
        return [episode for episode in self.episodes if episode.problems]


def replay(config: ReplayConfig) -> ReplayReport:
    """Play a dataset of Miniworld again.

    Raises:
        ValueError: A setting is wrong, there is no dataset of the converter, no episode comes from Miniworld, or the
            rows of the dataset are not its steps.
        OpenGLMissingError: A system library is missing.
    """
    if config.episodes is not None and config.episodes < 1:
        raise ValueError(f"--episodes={config.episodes}: give at least 1, or leave it out to play all")
    records = read_records(config.root)[: config.episodes]
    playable = [record for record in records if _is_from_miniworld(record)]
    if not playable:
        raise ValueError(
            f"{config.root}: no episode was recorded in Miniworld, so that none can be played again; "
            "give a dataset of recordings by qwenvla-record"
        )
    # LeRobot wants a name, which only says where on the Hub to look for files that are not here.
    name = config.root.name
    meta = LeRobotDatasetMetadata(name, root=config.root)
    _require_steps(config.root, meta.features[ACTION]["names"], playable)
    runs = {SCREEN: [k / meta.fps for k in range(PICTURES_AT_ONCE)]}
    dataset = LeRobotDataset(name, root=config.root, video_backend="pyav", delta_timestamps=runs, return_uint8=True)
    episodes = []
    with contextlib.ExitStack() as stack:
        envs: dict[tuple, MiniworldEnv] = {}
        for record in tqdm(playable, unit="episode", desc="Playing again", leave=False):
            world = tuple(record["meta"][key] for key in ("env_task", "canvas_w", "canvas_h"))
            if world not in envs:
                envs[world] = stack.enter_context(contextlib.closing(MiniworldEnv(*world)))
            episodes.append(replay_episode(dataset, record, envs[world], config.min_psnr_db))
    elsewhere = [record["episode_index"] for record in records if record not in playable]
    return ReplayReport(episodes, elsewhere)


def _is_from_miniworld(record: dict[str, Any]) -> bool:
    return record["meta"].get("env_task") in TASKS and isinstance(record["meta"].get("seed"), int)


def _require_steps(root: Path, channels: list[str], records: list[dict[str, Any]]) -> None:
    """Raises ValueError unless each row of these episodes is a step with its action."""
    options = [record["options"] for record in records]
    again = "convert the recordings again without it to play them"
    # Behind them may be channels that the game does not have.
    if tuple(channels[: len(CHANNELS)]) != CHANNELS:
        option = "keys" if channels[0] == CHANNELS[0] else "mouse"
        raise ValueError(f"{root}: its actions are not those of the game because of --{option}; {again}")
    for option in ("fps", "resample", "keep_duplicates", "offset_ms"):
        if any(episode_options.get(option) for episode_options in options):
            raise ValueError(f"{root}: its rows are not the steps of the game because of --{option}; {again}")
    if any(episode_options.get("size") for episode_options in options):
        raise ValueError(f"{root}: its pictures are not those of the game because of --size; {again}")
    if any(record["counts"].get("idle_rows_dropped") for record in records):
        raise ValueError(f"{root}: rows are missing because of --idle={options[0]['idle']}; {again}")


def print_report(report: ReplayReport) -> None:
    """A table of the episodes, and how many went as they were recorded."""
    table = Table("episode", "source", "steps", "worst dB", "mm off", "° off", "result", title="Played again")
    for episode in report.episodes:
        mm_off = "?" if episode.position_error_m is None else f"{episode.position_error_m * 1000:.3f}"
        degrees_off = "?" if episode.heading_error_deg is None else f"{episode.heading_error_deg:.4f}"
        result = "; ".join(episode.problems) or "as recorded"
        worst_db = f"{episode.worst_psnr_db:.1f}"
        table.add_row(str(episode.episode), episode.source, str(episode.steps), worst_db, mm_off, degrees_off, result)
    console = Console()
    console.print(table)
    if report.elsewhere:
        console.print(f"Not recorded in Miniworld: episodes {', '.join(map(str, report.elsewhere))}.")
    n_played = len(report.episodes)
    console.print(f"{n_played - len(report.failed)} of {n_played} episodes went as they were recorded.")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 if all went as recorded, 1 if not, or 2 after a one-line error for what the user can repair."""
    try:
        report = replay(draccus.parse(ReplayConfig, args=argv, prog="qwenvla-replay"))
        print_report(report)
    except (DraccusException, YAMLError, ValueError, OSError, OpenGLMissingError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
