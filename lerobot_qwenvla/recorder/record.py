"""Records one episode of a player."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lerobot_qwenvla.devices.clock import QPC_FREQ
from lerobot_qwenvla.miniworld.environment import FPS, MiniworldEnv
from lerobot_qwenvla.recorder.play import SCRIPTED, Player, play_episode
from lerobot_qwenvla.recorder.recording_writer import RecordingWriter


def record_episode(
    env: MiniworldEnv, folder: Path, seed: int, keep_failure: bool = False, player: Player = SCRIPTED
) -> tuple[int, bool]:
    """Play the episode with this seed and write it to `folder`, unless it fails and failures are not kept.

    Returns:
        Number of steps, and whether the goal was reached.

    Raises:
        ValueError: The folder exists already.
    """
    n_steps, success = 0, False
    with RecordingWriter(folder, env.canvas_px, FPS) as writer:
        for step in play_episode(env, player, seed):
            for _ in range(step.interval.n_captures):
                writer.add_frame(step.screen, step.interval.tick)
            for event in step.interval.events:
                writer.add_event(event)
            n_steps += 1
            success |= step.success
        if success or keep_failure:
            writer.finish(_meta(env, seed, player.name, success))
    return n_steps, success


def _meta(env: MiniworldEnv, seed: int, player_name: str, success: bool) -> dict[str, Any]:
    canvas_w, canvas_h = env.canvas_px
    return {
        "fps": FPS,
        "canvas_w": canvas_w,
        "canvas_h": canvas_h,
        "qpc_freq": QPC_FREQ,
        # Frames and events are timed by the same clock.
        "offset_ms": 0,
        "task": env.task_description,
        "env_task": env.task,
        "seed": seed,
        "player": player_name,
        "success": success,
        # Whoever plays the actions of the recording again must end up here.
        "final_pose": asdict(env.pose),
    }
