import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lerobot_qwenvla.demo.animation import (
    GAP_PX,
    HOLD_LAST_MS,
    LINE_PX,
    PANEL_WIDTH_PX,
    Rollout,
    read_rollouts,
    write_animation,
)

SIDE_PX = 32
RED, GREEN = 0, 1


def film(path: Path, shades: list[int]) -> Path:
    """A video at 10 frames a second, each of one shade of grey."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=SIDE_PX, height=SIDE_PX, pix_fmt="yuv420p")
        for shade in shades:
            frame = av.VideoFrame.from_ndarray(np.full((SIDE_PX, SIDE_PX, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def animation(tmp_path):
    """Frames of an animation of two episodes, the second shorter and a failure, and how long each is shown."""
    rollouts = [
        Rollout(7, True, film(tmp_path / "a.mp4", [40, 120, 200, 240])),
        Rollout(8, False, film(tmp_path / "b.mp4", [60, 180])),
    ]
    write_animation(rollouts, "go to the red box", tmp_path / "playing.webp")
    frames, durations_ms = [], []
    with Image.open(tmp_path / "playing.webp") as picture:
        assert picture.info["loop"] == 0  # without end
        for number in range(picture.n_frames):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("RGB")))
            durations_ms.append(picture.info["duration"])
    return frames, durations_ms


def centre(frame: np.ndarray, number: int) -> int:
    """Shade in the middle of an episode's picture."""
    left_px = GAP_PX + number * (PANEL_WIDTH_PX + GAP_PX)
    return int(frame[LINE_PX + PANEL_WIDTH_PX // 2, left_px + PANEL_WIDTH_PX // 2].mean())


def writes_in(frame: np.ndarray, number: int, channel: int) -> bool:
    """Whether what is written below an episode's picture has letters of this color."""
    left_px = GAP_PX + number * (PANEL_WIDTH_PX + GAP_PX)
    caption = frame[LINE_PX + PANEL_WIDTH_PX :, left_px : left_px + PANEL_WIDTH_PX].astype(int)
    others = np.delete(caption, channel, axis=2).max(axis=2)
    return bool((caption[:, :, channel] - others > 40).any())


def test_episodes_play_side_by_side_and_a_shorter_one_waits_at_its_end(animation):
    frames, _ = animation
    assert [centre(frame, 0) for frame in frames] == pytest.approx([40, 120, 200, 240], abs=8)
    assert [centre(frame, 1) for frame in frames] == pytest.approx([60, 180, 180, 180], abs=8)


def test_it_plays_as_fast_as_the_videos_and_holds_the_last_picture(animation):
    assert animation[1] == [100, 100, 100, HOLD_LAST_MS]


def test_how_an_episode_ended_is_written_when_it_has_ended(animation):
    frames, _ = animation
    assert [writes_in(frame, 0, GREEN) for frame in frames] == [False, False, False, True]
    assert [writes_in(frame, 1, RED) for frame in frames] == [False, True, True, True]


def test_rollouts_are_the_filmed_episodes_with_their_seeds(tmp_path):
    metrics = {"successes": [True, False, True], "video_paths": ["0.mp4", "1.mp4"]}
    (tmp_path / "eval_info.json").write_text(json.dumps({"per_task": [{"metrics": metrics}]}))
    assert read_rollouts(tmp_path, [5, 6, 7]) == [Rollout(5, True, Path("0.mp4")), Rollout(6, False, Path("1.mp4"))]
