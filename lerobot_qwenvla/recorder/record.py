"""Records one episode of the scripted player."""

from pathlib import Path
from typing import Any

from lerobot_qwenvla.envs.miniworld_env import FPS, MiniworldEnv
from lerobot_qwenvla.recorder.clock import QPC_FREQ
from lerobot_qwenvla.recorder.play import ScriptedPlayer, play_episode, seeded_rng
from lerobot_qwenvla.recorder.recording_writer import RecordingWriter

# A recorder that is faster than the screen captures some pictures twice.
DUPLICATE_PROBABILITY = 0.02


def record_episode(env: MiniworldEnv, folder: Path, seed: int, keep_failure: bool = False) -> tuple[int, bool]:
    """Play the episode with this seed and write it to `folder`, unless it fails and failures are not kept.

    Returns:
        Number of steps, and whether the goal was reached.

    Raises:
        ValueError: The folder exists already.
    """
    rng = seeded_rng(seed, "duplicates")
    n_steps, success = 0, False
    with RecordingWriter(folder, env.canvas_px, FPS) as writer:
        for step in play_episode(env, ScriptedPlayer, seed):
            for _ in range(2 if rng.random() < DUPLICATE_PROBABILITY else 1):
                writer.add_frame(step.screen, step.tick)
            for event in step.events:
                writer.add_event(event)
            n_steps += 1
            success |= step.success
        if success or keep_failure:
            writer.finish(_meta(env, seed, success))
    return n_steps, success


def _meta(env: MiniworldEnv, seed: int, success: bool) -> dict[str, Any]:
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
        "player": "scripted",
        "success": success,
    }
