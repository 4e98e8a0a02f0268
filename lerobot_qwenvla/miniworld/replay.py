"""Plays the episodes of a dataset again in Miniworld and compares what happens with what was recorded."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.constants import ACTION
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from lerobot_qwenvla.miniworld.environment import MiniworldEnv, Pose
from lerobot_qwenvla.miniworld.picture_match import match_pictures
from lerobot_qwenvla.miniworld.tasks import TASKS
from lerobot_qwenvla.miniworld.worlds import OpenGLMissingError
from recordings_to_lerobot.action_schema import CHANNELS
from recordings_to_lerobot.dataset_layout import SCREEN, read_records
from recordings_to_lerobot.validation import RecordingError

# The same actions in the same world lead to the same place, but for the rounding of float32.
MAX_POSITION_ERROR_M = 1e-3
MAX_HEADING_ERROR_DEG = 0.1
# Pictures are read in runs, because reading one alone decodes all since the last key frame.
PICTURES_AT_ONCE = 16


@dataclass
class ReplayConfig:
    """Play the episodes of a dataset again in Miniworld and compare what happens with what was recorded."""

    # Folder of the dataset
    root: Path
    # How many episodes to play; all if not given
    episodes: int | None = None
    # How much a picture may differ from what the video shows, as peak signal-to-noise ratio
    min_psnr_db: float = 25.0

    def __post_init__(self):
        self.root = self.root.expanduser()


@dataclass(frozen=True)
class EpisodeReplay:
    """What became of one episode; the errors are None for recordings that do not say where they ended."""

    episode: int
    source: str
    steps: int
    worst_psnr_db: float
    position_error_m: float | None
    heading_error_deg: float | None
    problems: tuple[str, ...]  # in words; none if it happened again as it was recorded


@dataclass(frozen=True)
class ReplayReport:
    """All episodes that were played again, and the numbers of those that Miniworld did not record."""

    episodes: list[EpisodeReplay]
    elsewhere: list[int]

    @property
    def failed(self) -> list[EpisodeReplay]:
        """Episodes that went otherwise than they were recorded."""
        return [episode for episode in self.episodes if episode.problems]


@dataclass(frozen=True)
class _Played:
    screens: list[np.ndarray]  # before each step
    pose: Pose
    success: bool


def replay(config: ReplayConfig) -> ReplayReport:
    """Play a dataset of Miniworld again.

    Raises:
        RecordingError: A setting is wrong, no episode comes from Miniworld, or the rows of the dataset are not its
            steps.
        OpenGLMissingError: A system library is missing.
    """
    if config.episodes is not None and config.episodes < 1:
        raise RecordingError(f"--episodes={config.episodes}: give at least 1, or leave it out to play all")
    records = read_records(config.root)[: config.episodes]
    playable = [record for record in records if _is_from_miniworld(record)]
    if not playable:
        raise RecordingError(
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
            episodes.append(_replay_episode(dataset, record, envs[world], config.min_psnr_db))
    elsewhere = [record["episode_index"] for record in records if record not in playable]
    return ReplayReport(episodes, elsewhere)


def run(config: ReplayConfig) -> int:
    """Play again and print what happened; returns 0 if all went as recorded, 1 otherwise.

    Raises:
        RecordingError: The dataset cannot be played.
    """
    try:
        report = replay(config)
    except OpenGLMissingError as error:
        raise RecordingError(str(error)) from None
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
    return 1 if report.failed else 0


def _is_from_miniworld(record: dict[str, Any]) -> bool:
    return record["meta"].get("env_task") in TASKS and isinstance(record["meta"].get("seed"), int)


def _require_steps(root: Path, channels: list[str], records: list[dict[str, Any]]) -> None:
    """Raises RecordingError unless each row of these episodes is a step with its action."""
    options = [record["options"] for record in records]
    again = "convert the recordings again without it to play them"
    if tuple(channels) != CHANNELS:
        option = "keys" if channels[0] == CHANNELS[0] else "mouse"
        raise RecordingError(f"{root}: its actions are not those of the game because of --{option}; {again}")
    for option in ("resample", "keep_duplicates", "offset_ms"):
        if any(episode_options.get(option) for episode_options in options):
            raise RecordingError(f"{root}: its rows are not the steps of the game because of --{option}; {again}")
    if any(record["counts"].get("idle_rows_dropped") for record in records):
        raise RecordingError(f"{root}: rows are missing because of --idle={options[0]['idle']}; {again}")


def _replay_episode(
    dataset: LeRobotDataset, record: dict[str, Any], env: MiniworldEnv, min_psnr_db: float
) -> EpisodeReplay:
    meta = record["meta"]
    bounds = dataset.meta.episodes[record["episode_index"]]
    rows = range(bounds["dataset_from_index"], bounds["dataset_to_index"])
    actions = np.stack(dataset.hf_dataset.with_format("numpy")[rows.start : rows.stop][ACTION])  # (N, C)
    played = _play(env, meta["seed"], actions)
    problems = []
    if len(played.screens) < len(rows):
        problems.append(f"it is over after {len(played.screens)} of {len(rows)} steps")
    if played.success != meta["success"]:
        problems.append("it reaches the goal" if played.success else "it does not reach the goal")
    match = match_pictures(list(_pictures(dataset, rows))[: len(played.screens)], played.screens)
    worst = int(match.psnr_db.argmin())
    if match.psnr_db[worst] < min_psnr_db:
        problems.append(f"the picture of row {worst} shows something else")
    if match.misplaced.any():
        problems.append(f"the picture of row {int(match.misplaced.argmax())} belongs to its neighbour")
    position_error_m, heading_error_deg = _pose_errors(played.pose, meta.get("final_pose"))
    if (position_error_m or 0) > MAX_POSITION_ERROR_M or (heading_error_deg or 0) > MAX_HEADING_ERROR_DEG:
        problems.append("it ends at another place")
    return EpisodeReplay(
        episode=record["episode_index"],
        source=record["source"],
        steps=len(rows),
        worst_psnr_db=float(match.psnr_db[worst]),
        position_error_m=position_error_m,
        heading_error_deg=heading_error_deg,
        problems=tuple(problems),
    )


def _play(env: MiniworldEnv, seed: int, actions: np.ndarray) -> _Played:
    observation, _ = env.reset(seed=seed)
    screens, success = [], False
    for action in actions:
        screens.append(observation["pixels"]["screen"])
        observation, _, terminated, truncated, info = env.step(action)
        success |= info["is_success"]
        if terminated or truncated:
            break
    return _Played(screens, env.pose, success)


def _pictures(dataset: LeRobotDataset, rows: range) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3) uint8 of these rows of one episode."""
    for row in rows[::PICTURES_AT_ONCE]:
        run = dataset[row][SCREEN][: rows.stop - row]  # (T, 3, H, W)
        yield from run.permute(0, 2, 3, 1).numpy()


def _pose_errors(pose: Pose, recorded: dict[str, float] | None) -> tuple[float, float] | tuple[None, None]:
    """Distance in metres and angle in degrees between two poses."""
    if recorded is None:
        return None, None
    turn_deg = (pose.heading_deg - recorded["heading_deg"] + 180) % 360 - 180
    return math.hypot(pose.x_m - recorded["x_m"], pose.z_m - recorded["z_m"]), abs(turn_deg)
