"""Puts prepared episodes together to a dataset, or behind those of one.

Importing this module imports LeRobot and torch, which takes seconds.
"""

import pickle
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from lerobot.configs.video import RGBEncoderConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.io_utils import write_info
from lerobot.datasets.video_utils import decode_video_frames, get_video_duration_in_s

from recordings_to_lerobot.actions.channels import SCHEMA_VERSION
from recordings_to_lerobot.alignment.relative import largest_moves, scaled
from recordings_to_lerobot.dataset.audit import AuditWriter
from recordings_to_lerobot.dataset.card import write_card
from recordings_to_lerobot.dataset.episode import NewEpisode, PreparedEpisode
from recordings_to_lerobot.dataset.names import RECORDINGS_FILE, SCREEN
from recordings_to_lerobot.dataset.records import append_json_line, read_records
from recordings_to_lerobot.dataset.splits import ranges
from recordings_to_lerobot.dataset.writer import new_dataset, open_dataset


def open_draft(
    root: Path, repo_id: str, fps: int, size_px: tuple[int, int], channels: tuple[str, ...]
) -> LeRobotDatasetMetadata:
    """The dataset at `root`, or a new one there."""
    if root.exists():
        return LeRobotDatasetMetadata(repo_id, root=root)
    return new_dataset(root, repo_id, fps, size_px, channels)


def measure_read_ms(repo_id: str, root: Path) -> float:
    """What LeRobot takes to read a picture at random: the median over some, spread over the first video."""
    meta = LeRobotDatasetMetadata(repo_id, root=root)
    path = meta.root / meta.video_path.format(video_key=SCREEN, chunk_index=0, file_index=0)
    n_frames = round(get_video_duration_in_s(path) * meta.fps)
    times_ms = []
    for frame in np.linspace(0, n_frames - 1, 9).astype(int).tolist():
        started_s = time.perf_counter()
        decode_video_frames(path, [frame / meta.fps], tolerance_s=1e-4, backend="pyav")
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return statistics.median(times_ms)


def assemble(
    meta: LeRobotDatasetMetadata, entries: Sequence[NewEpisode], options: dict, encoder: RGBEncoderConfig | None
) -> Iterator[PreparedEpisode]:
    """Appends the entries, which lie together by split, and yields each when it is written."""
    root = meta.root
    delay_frames = max(entry.facts.delay_frames for entry in entries)
    first_index = meta.total_episodes
    # All at once: LeRobot writes the file of tasks anew for every new one.
    meta.save_episode_tasks(list(dict.fromkeys(entry.task for entry in entries)))
    with open_dataset(meta, delay_frames, encoder) as writer, AuditWriter(root) as audit:
        for episode_index, entry in enumerate(entries, start=first_index):
            episode: PreparedEpisode = pickle.loads(entry.prepared.read_bytes())
            if options["mouse"] == "relative":
                scale = options["mouse_scale"]
                clipped = int((largest_moves(episode.labels) > scale).sum())
                counts = {**episode.counts, "mouse_rows_clipped": clipped}
                episode = replace(episode, labels=scaled(episode.labels, scale), counts=counts)
            writer.write_episode(episode.labels, episode.task, entry.video, entry.facts, episode.levels)
            audit.write(episode_index, episode)
            append_json_line(root / RECORDINGS_FILE, _record(episode_index, entry, episode, options))
            yield episode
    if first_index == 0:
        meta.info.splits = ranges([entry.split for entry in entries])
        write_info(meta.info, root)
    write_card(meta, read_records(root))


def _record(episode_index: int, entry: NewEpisode, episode: PreparedEpisode, options: dict) -> dict:
    return {
        "episode_index": episode_index,
        "source": entry.key,
        "identity": entry.digest,
        "task": episode.task,
        "schema_version": SCHEMA_VERSION,
        "options": options,
        "video": "copied" if entry.is_copied else "encoded",
        "dropped_rows": episode.dropped_rows,
        "counts": {**episode.counts, "by_kind": episode.kinds},
        "meta": episode.recording.meta.model_dump(exclude_unset=True),
    }
