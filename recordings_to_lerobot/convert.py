"""Converts a folder of recordings: checks all of them, then writes the dataset."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recordings_to_lerobot.action_encoding import EncodedEpisode
from recordings_to_lerobot.action_schema import CHANNELS, DELTA_CHANNELS, SCHEMA_VERSION
from recordings_to_lerobot.labelling import label_recording
from recordings_to_lerobot.options import ConvertConfig
from recordings_to_lerobot.preflight import Episode, check_episodes
from recordings_to_lerobot.recording import VIDEO_FILE, Recording, read_recording
from recordings_to_lerobot.timeline import Timeline, kept_frames
from recordings_to_lerobot.validation import RecordingError, require_absent
from recordings_to_lerobot.video import iterate_frames

# Not input and root: paths of the machine that converted say nothing to the one that reads.
_RECORDED_OPTIONS = ("task", "mouse", "resample", "keep_duplicates", "sort_events")

# Counts that a user wants to see at the end, for each may mean that something is wrong with the recordings.
_FINDINGS = (
    "duplicates_dropped",
    "events_reordered",
    "events_before_first_row",
    "events_after_last_row",
    "unknown_kinds",
    "positions_outside_canvas",
    "key_auto_repeats",
    "unmatched_key_ups",
    "keys_outside_vocabulary",
)


@dataclass(frozen=True)
class ConvertSummary:
    """What a finished conversion wrote, and what it found on the way; counts are sums over all episodes."""

    root: Path
    repo_id: str
    episodes: int
    frames: int
    used_channels: tuple[str, ...]  # buttons and keys that are ever pressed
    findings: dict[str, int]
    seconds: float


def convert(config: ConvertConfig) -> ConvertSummary:
    """Checks every recording, then writes the dataset; a failure at any point leaves nothing behind.

    Raises:
        RecordingError: With all problems of all episodes, or because the output exists.
    """
    started_s = time.monotonic()
    root = _output_root(config)
    episodes = check_episodes(config)
    first = episodes[0].meta

    # Not before all inputs are known to be good: these imports take seconds.
    from recordings_to_lerobot.dataset_writer import append_record, new_dataset, write_episode

    channels = CHANNELS if config.mouse == "absolute" else DELTA_CHANNELS
    is_used = np.zeros(len(channels), dtype=bool)
    findings: Counter[str] = Counter()
    n_rows = sum(episode.n_rows for episode in episodes)
    size_px = (first.canvas_w, first.canvas_h)
    with (
        new_dataset(config.repo_id, root, int(first.fps), size_px, channels) as dataset,
        tqdm(total=n_rows, unit="frame", desc="Converting") as progress,
    ):
        for index, episode in enumerate(episodes):
            recording = read_recording(episode.folder, config.sort_events)
            timeline, encoded = label_recording(recording, config)
            pictures = iterate_frames(episode.folder / VIDEO_FILE, timeline.frame_index)
            write_episode(dataset, _counted(pictures, progress), encoded, timeline, episode.task)
            counts = _counts(recording, timeline, encoded, config)
            append_record(dataset, _record(index, episode, config, counts))
            findings.update({name: counts[name] for name in _FINDINGS})
            is_used |= encoded.action.any(axis=0)
    return ConvertSummary(
        root=root,
        repo_id=config.repo_id,
        episodes=len(episodes),
        frames=n_rows,
        used_channels=tuple(name for name in compress(channels, is_used) if not name.startswith("mouse.")),
        findings=dict(findings),
        seconds=time.monotonic() - started_s,
    )


def _output_root(config: ConvertConfig) -> Path:
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(config.repo_id)
    except ValueError as error:
        raise RecordingError(f"--repo_id={config.repo_id}: {error}; give it as USER/NAME") from None
    root = config.root
    if root is None:
        from lerobot.utils.constants import HF_LEROBOT_HOME

        root = HF_LEROBOT_HOME / config.repo_id
    require_absent(root)
    return root


def _counted(pictures: Iterator[np.ndarray], progress: tqdm) -> Iterator[np.ndarray]:
    for picture in pictures:
        yield picture
        progress.update()


def _counts(
    recording: Recording, timeline: Timeline, encoded: EncodedEpisode, config: ConvertConfig
) -> dict[str, int | dict[str, int]]:
    video_frames = len(recording.frame_ticks)
    return {
        "video_frames": video_frames,
        "rows": len(timeline),
        "duplicates_dropped": video_frames - len(kept_frames(recording.frame_ticks, config.keep_duplicates)),
        "events_reordered": recording.events.reordered,
        **asdict(encoded.counts),
    }


def _record(index: int, episode: Episode, config: ConvertConfig, counts: dict) -> dict:
    options = asdict(config)
    return {
        "episode_index": index,
        "source": episode.folder.relative_to(config.input).as_posix(),
        "task": episode.task,
        "schema_version": SCHEMA_VERSION,
        "options": {name: options[name] for name in _RECORDED_OPTIONS},
        "counts": counts,
        "meta": episode.meta.model_dump(exclude_unset=True),
    }
