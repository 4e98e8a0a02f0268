"""Checks every recording before anything is written."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from recordings_to_lerobot.labelling import label_recording
from recordings_to_lerobot.options import ConvertConfig
from recordings_to_lerobot.recording import META_FILE, VIDEO_FILE, Meta, find_episodes, read_recording
from recordings_to_lerobot.validation import RecordingError
from recordings_to_lerobot.video import check_video


@dataclass(frozen=True)
class Episode:
    """A recording known to be convertible, without its data."""

    folder: Path
    meta: Meta
    task: str
    n_rows: int


def check_episodes(config: ConvertConfig) -> list[Episode]:
    """Reads all recordings in full, but does not decode their videos.

    Raises:
        RecordingError: With the problems of all episodes.
    """
    episodes: list[Episode] = []
    problems: list[str] = []
    for folder in tqdm(find_episodes(config.input), unit="episode", desc="Checking", leave=False):
        try:
            episodes.append(_check_episode(folder, config))
        except RecordingError as error:
            problems += error.problems
    for field in ("fps", "canvas_w", "canvas_h"):
        problems += _disagreement(episodes, field)
    if problems:
        raise RecordingError(*problems)
    return episodes


def _check_episode(folder: Path, config: ConvertConfig) -> Episode:
    recording = read_recording(folder, config.sort_events)
    meta = recording.meta
    task = (meta.task or "").strip() or (config.task or "").strip()
    problems: list[str] = []
    n_rows = 0
    try:
        check_video(folder / VIDEO_FILE, (meta.canvas_w, meta.canvas_h), len(recording.frame_ticks))
    except RecordingError as error:
        problems += error.problems
    if meta.fps != int(meta.fps):
        problems.append(
            f"{folder / META_FILE}: `fps` is {meta.fps}, but LeRobot knows whole frames per second only; "
            f"set it to {max(1, round(meta.fps))} (true times are kept either way)"
        )
    else:
        try:
            n_rows = len(label_recording(recording, config)[0])
        except RecordingError as error:
            problems += error.problems
    if not task:
        problems.append(f"{folder / META_FILE}: no `task`; add the instruction there, or pass --task=TEXT")
    if problems:
        raise RecordingError(*problems)
    return Episode(folder, meta, task, n_rows)


def _disagreement(episodes: list[Episode], field: str) -> list[str]:
    """The first episode that differs in a field of which a dataset has only one."""
    for other in episodes[1:]:
        wanted, found = getattr(episodes[0].meta, field), getattr(other.meta, field)
        if found != wanted:
            return [
                f"{other.folder / META_FILE}: `{field}` is {found}, but {wanted} in "
                f"{episodes[0].folder / META_FILE}; convert them to separate datasets"
            ]
    return []
