"""Writes a LeRobotDataset through LeRobot's own writer, so that it appears complete or not at all.

Importing this module imports LeRobot and torch, which takes seconds.
"""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import datasets
import numpy as np
from lerobot.configs import DepthEncoderConfig, RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.video_utils import StreamingVideoEncoder

from recordings_to_lerobot.action_encoding import EncodedEpisode
from recordings_to_lerobot.recording import RECORDINGS_FILE
from recordings_to_lerobot.timeline import NS_PER_MS, Timeline
from recordings_to_lerobot.validation import require_absent

SCREEN = "observation.images.screen"

# The encoder of the videos else reports its settings for each episode.
os.environ.setdefault("SVT_LOG", "1")

# Enough to keep the encoder busy while the next frames are decoded; an hour-long episode needs no more.
_QUEUED_FRAMES = 32


class BackPressureEncoder(StreamingVideoEncoder):
    """LeRobot's streaming encoder, which waits for room in its queue where LeRobot would drop the frame.

    At 384×384 on two cores it writes 1.25 to 1.5 times as many frames a second as LeRobot's default, which
    saves each frame as a PNG file before it encodes them, and unlike that needs no room for the files.
    Dropping frames is right for a robot, which cannot wait, but a recording can.
    """

    def feed_frame(self, video_key: str, image: np.ndarray) -> None:
        while self._frame_queues[video_key].full() and self._threads[video_key].is_alive():
            time.sleep(0.001)
        super().feed_frame(video_key, image)


class _LosslessDataset(LeRobotDataset):
    @staticmethod
    def _build_streaming_encoder(
        fps: int,
        rgb_encoder: RGBEncoderConfig | None,
        depth_encoder: DepthEncoderConfig | None,
        encoder_queue_maxsize: int,
        encoder_threads: int | None,
    ) -> StreamingVideoEncoder:
        return BackPressureEncoder(fps, rgb_encoder, depth_encoder, encoder_queue_maxsize, encoder_threads)


@contextlib.contextmanager
def new_dataset(
    repo_id: str, root: Path, fps: int, size_px: tuple[int, int], channels: tuple[str, ...]
) -> Iterator[LeRobotDataset]:
    """A dataset to write to, which appears at `root` when the block ends well and leaves no trace otherwise.

    Pictures have `size_px` (width, height), state and action one float32 for each of `channels`.

    Raises:
        RecordingError: `root` exists already.
    """
    require_absent(root)
    # Beside the target, for renaming is atomic only within a file system; its parents may not exist yet.
    beside = next(parent for parent in root.absolute().parents if parent.is_dir())
    with (
        tempfile.TemporaryDirectory(prefix=f".{root.name}.partial-", dir=beside) as staging,
        _without_progress_bars(),
    ):
        dataset = _create(repo_id, Path(staging) / root.name, fps, size_px, channels)
        try:
            yield dataset
        except BaseException:
            # Left open, the writers would create their files anew when they are garbage-collected.
            for close in (dataset.clear_episode_buffer, dataset.finalize):
                with contextlib.suppress(Exception):
                    close()
            raise
        dataset.finalize()
        require_absent(root)
        root.parent.mkdir(parents=True, exist_ok=True)
        os.rename(dataset.root, root)


def _create(repo_id: str, root: Path, fps: int, size_px: tuple[int, int], channels: tuple[str, ...]) -> LeRobotDataset:
    vector = {"dtype": "float32", "shape": (len(channels),), "names": list(channels)}
    width_px, height_px = size_px
    features = {
        SCREEN: {
            "dtype": "video",
            "shape": (height_px, width_px, 3),
            "names": ["height", "width", "channels"],
        },
        "observation.state": vector,
        "action": vector,
        "recording.frame_index": {"dtype": "int64", "shape": (1,), "names": None},
        "recording.timestamp_ms": {"dtype": "float64", "shape": (1,), "names": None},
    }
    return _LosslessDataset.create(
        repo_id,
        fps,
        features,
        root=root,
        rgb_encoder=_encoder_config(size_px),
        streaming_encoding=True,
        encoder_queue_maxsize=_QUEUED_FRAMES,
        # Only matters for reading; naming it spares the user a warning about the default one.
        video_backend="pyav",
    )


def _encoder_config(size_px: tuple[int, int]) -> RGBEncoderConfig:
    # LeRobot's default encoder refuses small pictures, and its pixel format cuts odd sizes down to even ones.
    if min(size_px) < 64 or size_px[0] % 2 or size_px[1] % 2:
        return RGBEncoderConfig(vcodec="h264", pix_fmt="yuv444p")
    return RGBEncoderConfig()


def write_episode(
    dataset: LeRobotDataset,
    pictures: Iterable[np.ndarray],
    encoded: EncodedEpisode,
    timeline: Timeline,
    task: str,
) -> None:
    """Appends one episode of N rows; `pictures` gives N arrays (H, W, 3) uint8, never held all at once."""
    for row, picture in enumerate(pictures):
        dataset.add_frame(
            {
                SCREEN: picture,
                "observation.state": encoded.state[row],
                "action": encoded.action[row],
                "recording.frame_index": timeline.frame_index[row : row + 1],
                "recording.timestamp_ms": timeline.frame_ns[row : row + 1] / NS_PER_MS,
                "task": task,
            }
        )
    assert row + 1 == len(timeline)
    dataset.save_episode()


def append_record(dataset: LeRobotDataset, record: dict) -> None:
    """Appends one line to the dataset's own account of where its episodes come from."""
    with (dataset.root / RECORDINGS_FILE).open("a") as file:
        file.write(json.dumps(record, allow_nan=False) + "\n")


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    # One bar for each episode's table would run through our own.
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()
