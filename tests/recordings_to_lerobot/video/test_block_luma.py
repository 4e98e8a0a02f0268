"""Block means of real encoded videos: what counts as a change, and what is only the encoder."""

from pathlib import Path

import av
import numpy as np
import pytest

from recordings_to_lerobot.alignment.screen_change import CHANGE_LEVELS, largest_change
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.video.block_luma import GRID
from recordings_to_lerobot.video.block_luma import block_luma as iterate_block_luma

SIZE_PX = 192
KEY_FRAME_EVERY = 10


def block_luma(path: Path, frame_index: np.ndarray) -> np.ndarray:
    return np.stack(list(iterate_block_luma(path, frame_index)))


def write_video(path: Path, pictures: list[np.ndarray], crf: int, pix_fmt: str = "yuv420p") -> Path:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": str(crf), "preset": "veryfast"})
        stream.height, stream.width, _ = pictures[0].shape
        stream.pix_fmt, stream.gop_size = pix_fmt, KEY_FRAME_EVERY
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def scene(seed: int = 0) -> np.ndarray:
    """Smooth shading, edges and some texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    levels = 90 + 40 * np.sin(x / 37) + 30 * np.cos(y / 23) + 50 * ((x // 24 + y // 24) % 2) * (y > 100)
    levels += rng.normal(scale=6, size=levels.shape)
    return np.repeat(levels.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def with_square(picture: np.ndarray, x: int, y: int, side: int, levels: int) -> np.ndarray:
    changed = picture.astype(int)
    changed[y : y + side, x : x + side] += levels
    return changed.clip(0, 255).astype(np.uint8)


def changes_from_first(luma: np.ndarray) -> np.ndarray:
    return largest_change(luma[1:], luma[0])


def test_blocks_are_means_of_the_luma(tmp_path):
    pictures = [np.full((90, 130, 3), level, dtype=np.uint8) for level in (0, 100, 255)]
    pictures[1][:45] = 200
    luma = block_luma(write_video(tmp_path / "v.mp4", pictures, crf=1), np.arange(3)) / 256
    assert luma.shape == (3, GRID * GRID)
    top, bottom = luma[1].reshape(GRID, GRID)[: GRID // 2 - 1], luma[1].reshape(GRID, GRID)[GRID // 2 + 1 :]
    np.testing.assert_allclose([luma[0].mean(), top.mean(), bottom.mean(), luma[2].mean()], [0, 200, 100, 255], atol=2)


def test_odd_sizes_and_chosen_frames(tmp_path):
    pictures = [np.full((33, 47, 3), 20 * i, dtype=np.uint8) for i in range(6)]
    luma = block_luma(write_video(tmp_path / "v.mp4", pictures, crf=1, pix_fmt="yuv444p"), np.array([1, 1, 4]))
    np.testing.assert_allclose(luma.mean(axis=1) / 256, [20, 20, 80], atol=2)
    np.testing.assert_array_equal(luma[0], luma[1])


def test_a_frame_that_is_not_there_is_reported(tmp_path):
    path = write_video(tmp_path / "v.mp4", [scene()] * 3, crf=18)
    with pytest.raises(RecordingError, match="frame 5 cannot be decoded"):
        block_luma(path, np.array([0, 5]))


@pytest.mark.parametrize("crf", [18, 28])
def test_an_encoder_at_work_on_a_still_scene_is_no_change(tmp_path, crf):
    moving = [np.roll(scene(), 7 * i, axis=1) for i in range(8)]
    luma = block_luma(write_video(tmp_path / "v.mp4", [*moving, *[moving[-1]] * 40], crf), np.arange(48))
    still = luma[len(moving) + KEY_FRAME_EVERY :]
    assert np.ptp(still, axis=0).max() > 0, "the encoder left no trace, so that this tests nothing"
    assert changes_from_first(still).max() <= CHANGE_LEVELS
    assert changes_from_first(luma[: len(moving)]).min() > CHANGE_LEVELS


@pytest.mark.parametrize(("side", "levels"), [(3, 100), (4, 60)])
def test_a_tiny_thing_that_moves_is_a_change(tmp_path, side, levels):
    still = scene()
    places = [(20 + 11 * i, 60 + 9 * (i % 3)) for i in range(8)]
    pictures = [still] * 5 + [with_square(still, x, y, side, levels) for x, y in places]
    luma = block_luma(write_video(tmp_path / "v.mp4", pictures, crf=28), np.arange(len(pictures)))
    assert changes_from_first(luma[:5]).max() <= CHANGE_LEVELS
    assert changes_from_first(luma[4:]).min() > CHANGE_LEVELS


def test_changes_are_in_levels_and_have_no_sign():
    dark, bright = np.full((1, 4), 10 * 256, dtype=np.uint16), np.array([[10, 10, 10, 30]], dtype=np.uint16) * 256
    assert largest_change(dark, bright) == largest_change(bright, dark) == 20
