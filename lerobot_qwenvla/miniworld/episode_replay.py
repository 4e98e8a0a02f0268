"""Plays one recorded episode again in Miniworld and compares what happens with what was recorded."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.constants import ACTION

from lerobot_qwenvla.miniworld.environment import MiniworldEnv, Pose
from lerobot_qwenvla.miniworld.picture_match import match_pictures
from recordings_to_lerobot.actions.channels import CHANNELS
from recordings_to_lerobot.dataset.names import SCREEN

# The same actions in the same world lead to the same place, but for the rounding of float32.
MAX_POSITION_ERROR_M = 1e-3
MAX_HEADING_ERROR_DEG = 0.1
# Pictures are read in runs, because reading one alone decodes all since the last key frame.
PICTURES_AT_ONCE = 16


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
class _Played:
    screens: list[np.ndarray]  # before each step
    pose: Pose
    success: bool


def replay_episode(
    dataset: LeRobotDataset, record: dict[str, Any], env: MiniworldEnv, min_psnr_db: float
) -> EpisodeReplay:
    """Play the episode of a record in the world it was recorded in.

    Args:
        dataset: Its rows hold `PICTURES_AT_ONCE` pictures (T, 3, H, W) uint8, their own and those that follow.
        record: The converter's account of the episode.
        env: A world of the task and the canvas of the recording.
        min_psnr_db: A picture that differs more from the world shows something else.
    """
    meta = record["meta"]
    bounds = dataset.meta.episodes[record["episode_index"]]
    rows = range(bounds["dataset_from_index"], bounds["dataset_to_index"])
    actions = np.stack(dataset.hf_dataset.with_format("numpy")[rows.start : rows.stop][ACTION])  # (N, C)
    actions = actions[:, : len(CHANNELS)]
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
