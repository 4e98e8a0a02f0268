"""Writes prepared episodes to a LeRobotDataset.

Importing this module imports LeRobot and torch, which takes seconds.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot.configs.video import RGBEncoderConfig
from lerobot.datasets.compute_stats import compute_episode_stats
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.feature_utils import get_hf_features_from_features
from lerobot.datasets.io_utils import write_info
from lerobot.datasets.utils import update_chunk_file_indices

from recordings_to_lerobot.alignment.labels import Labels
from recordings_to_lerobot.alignment.timeline import NS_PER_MS
from recordings_to_lerobot.dataset.audit import close_table
from recordings_to_lerobot.dataset.names import FRAME_INDEX, SCREEN, TIMESTAMP_MS
from recordings_to_lerobot.dataset.video_format import VideoFormat
from recordings_to_lerobot.video.encode import EncoderSettings
from recordings_to_lerobot.video.packing import DatasetFile, VideoPacker
from recordings_to_lerobot.video.probe import VideoFacts
from recordings_to_lerobot.video.sample import picture_statistics

_BYTES_PER_MB = 1024 * 1024
_ENCODERS = {"h264": "h264", "av1": "libsvtav1"}


class EpisodeWriter:
    """Appends episodes whose labels and video are ready to a dataset.

    LeRobot's metadata and statistics with files of our own: its `DatasetWriter` passes every row by itself
    through code for images stored in tables, at half a millisecond each, and rewrites the video file for every
    episode, so that a hundred thousand frames would take minutes where this takes seconds.
    """

    def __init__(self, meta: LeRobotDatasetMetadata, delay_frames: int):
        """Begins new files; the decoder of no video runs ahead by more than `delay_frames`."""
        self._meta = meta
        self._schema = get_hf_features_from_features(meta.features).arrow_schema
        video_mb, data_mb = meta.video_files_size_in_mb, meta.data_files_size_in_mb
        video_files = _new_files(meta, f"videos/{SCREEN}", meta.video_path)
        self._packer = VideoPacker(video_files, meta.fps, video_mb * _BYTES_PER_MB, delay_frames)
        self._data_files = _new_files(meta, "data", meta.data_path)
        self._max_data_bytes = data_mb * _BYTES_PER_MB
        self._table: pq.ParquetWriter | None = None

    def write_episode(self, labels: Labels, task: str, video: Path, facts: VideoFacts, levels: np.ndarray) -> None:
        """Appends an episode of N rows, with a video of as many frames and the levels (3, 256) of its pictures.

        The metadata knows its task already.
        """
        meta, n_rows = self._meta, len(labels.timeline)
        assert n_rows == len(facts.frame_of_packet)
        episode_index, first_row = meta.total_episodes, meta.total_frames
        columns = {
            "observation.state": labels.state,
            "action": labels.action,
            FRAME_INDEX: labels.timeline.frame_index,
            TIMESTAMP_MS: labels.timeline.frame_ns / NS_PER_MS,
            "timestamp": (np.arange(n_rows) / meta.fps).astype(np.float32),
            "frame_index": np.arange(n_rows),
            "episode_index": np.full(n_rows, episode_index),
            "index": np.arange(first_row, first_row + n_rows),
            "task_index": np.full(n_rows, meta.get_task_index(task)),
        }
        data_file = self._write_rows(columns)
        place = self._packer.append(video, facts)
        tabular = {name: feature for name, feature in meta.features.items() if name != SCREEN}
        stats = {SCREEN: picture_statistics(levels), **compute_episode_stats(columns, tabular)}
        where = {
            "data/chunk_index": data_file.chunk_index,
            "data/file_index": data_file.file_index,
            "dataset_from_index": first_row,
            "dataset_to_index": first_row + n_rows,
            f"videos/{SCREEN}/chunk_index": place.file.chunk_index,
            f"videos/{SCREEN}/file_index": place.file.file_index,
            f"videos/{SCREEN}/from_timestamp": place.from_s,
            f"videos/{SCREEN}/to_timestamp": place.to_s,
        }
        meta.save_episode(episode_index, n_rows, [task], stats, where)

    def _write_rows(self, columns: dict[str, np.ndarray]) -> DatasetFile:
        if self._table is None or self._data_file.path.stat().st_size >= self._max_data_bytes:
            self._close_table()
            self._data_file = next(self._data_files)
            self._data_file.path.parent.mkdir(parents=True, exist_ok=True)
            self._table = pq.ParquetWriter(self._data_file.path, self._schema)
        arrays = [
            pa.array(columns[field.name]) if columns[field.name].ndim == 1 else _lists(columns[field.name])
            for field in self._schema
        ]
        # One row group per episode, as LeRobot writes them.
        self._table.write_table(pa.table(arrays, schema=self._schema))
        return self._data_file

    def _close_table(self) -> None:
        table, self._table = self._table, None
        if table is not None:
            close_table(table)

    def close(self) -> None:
        """Finishes all files; without it the dataset is not readable."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._meta.finalize)
            stack.callback(self._packer.close)
            stack.callback(self._close_table)


def _lists(vectors: np.ndarray) -> pa.Array:
    """A column of vectors (N, C)."""
    return pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])


def _new_files(meta: LeRobotDatasetMetadata, name: str, path: str) -> Iterator[DatasetFile]:
    """Files behind those of a dataset, by LeRobot's numbering."""
    chunk_index = file_index = 0
    if meta.total_episodes:
        used = zip(meta.episodes[f"{name}/chunk_index"], meta.episodes[f"{name}/file_index"], strict=True)
        chunk_index, file_index = update_chunk_file_indices(*max(used), meta.chunks_size)
    while True:
        file = path.format(video_key=SCREEN, chunk_index=chunk_index, file_index=file_index)
        yield DatasetFile(meta.root / file, chunk_index, file_index)
        chunk_index, file_index = update_chunk_file_indices(chunk_index, file_index, meta.chunks_size)


@contextlib.contextmanager
def open_dataset(
    meta: LeRobotDatasetMetadata, delay_frames: int, encoder: RGBEncoderConfig | None
) -> Iterator[EpisodeWriter]:
    """A writer that appends to a dataset, which is complete after the block.

    `encoder` is what encoded the videos, None if nobody knows: they are copies.
    """
    is_new = meta.total_episodes == 0
    with contextlib.closing(EpisodeWriter(meta, delay_frames)) as writer:
        yield writer
    if is_new:
        meta.update_video_info(SCREEN, encoder)
        write_info(meta.info, meta.root)


def new_dataset(
    root: Path, repo_id: str, fps: int, size_px: tuple[int, int], channels: tuple[str, ...]
) -> LeRobotDatasetMetadata:
    """An empty dataset; pictures of `size_px` (width, height), a float32 in state and action for each channel."""
    return LeRobotDatasetMetadata.create(repo_id, fps, features(size_px, channels), root=root)


def encoder_config(wanted: VideoFormat | None, size_px: tuple[int, int]) -> RGBEncoderConfig:
    """LeRobot's configuration for a format, or its default for pictures of `size_px` (width, height)."""
    if wanted is not None:
        # Among copies of recordings an encoded episode shall not stand out.
        quality = {} if wanted.codec == "av1" else {"crf": 18}
        return RGBEncoderConfig(vcodec=_ENCODERS[wanted.codec], pix_fmt=wanted.pix_fmt, **quality)
    # LeRobot's default encoder refuses small pictures, and its pixel format cuts odd sizes down to even ones.
    if min(size_px) < 64 or size_px[0] % 2 or size_px[1] % 2:
        return RGBEncoderConfig(vcodec="h264", pix_fmt="yuv444p")
    return RGBEncoderConfig()


def default_format(size_px: tuple[int, int]) -> VideoFormat:
    """The format that LeRobot's default makes of pictures of `size_px` (width, height)."""
    config = encoder_config(None, size_px)
    codec_of = {encoder: codec for codec, encoder in _ENCODERS.items()}
    return VideoFormat(codec_of[config.vcodec], config.pix_fmt)


def encoder_settings(config: RGBEncoderConfig) -> EncoderSettings:
    """The same in the terms of FFmpeg."""
    return EncoderSettings(config.vcodec, config.pix_fmt, config.get_codec_options(as_strings=True))


def features(size_px: tuple[int, int], channels: tuple[str, ...]) -> dict[str, dict]:
    """LeRobot's description of the columns."""
    vector = {"dtype": "float32", "shape": (len(channels),), "names": list(channels)}
    width_px, height_px = size_px
    return {
        SCREEN: {
            "dtype": "video",
            "shape": (height_px, width_px, 3),
            "names": ["height", "width", "channels"],
        },
        "observation.state": vector,
        "action": vector,
        FRAME_INDEX: {"dtype": "int64", "shape": (1,), "names": None},
        TIMESTAMP_MS: {"dtype": "float64", "shape": (1,), "names": None},
    }
