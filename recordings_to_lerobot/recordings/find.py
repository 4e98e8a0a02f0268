"""Where recordings lie: the files that make a folder one, and all such folders below another."""

import os
import re
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from recordings_to_lerobot.recordings.validation import RecordingError, printable

VIDEO_FILE = "video.mp4"
FRAME_TICKS_FILE = "frame_ts.bin"
EVENTS_FILE = "events.jsonl"
META_FILE = "meta.json"

EPISODE_FILES = (VIDEO_FILE, FRAME_TICKS_FILE, EVENTS_FILE, META_FILE)


def walk_folders(input_dir: Path) -> Iterator[tuple[Path, set[str]]]:
    """Yields the folders at or below `input_dir` with the names of their files; hidden folders are left out.

    Raises:
        RecordingError: There is no such folder.
    """
    if not input_dir.is_dir():
        raise RecordingError(f"{input_dir}: no such folder; give the folder of your recordings as --input")
    for root, subfolders, files in os.walk(input_dir):
        # Hidden folders are what a recorder is still writing, or was killed over.
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield Path(root), set(files)


def is_episode(files: Set[str]) -> bool:
    """Whether a folder with these files is one of the layout, be it that some are missing."""
    return not files.isdisjoint(EPISODE_FILES)


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sorted as a person would: episode_2 before episode_10."""
    return sorted(paths, key=lambda path: [_natural_key(part) for part in path.parts])


def file_of(recording: Path, name: str) -> Path:
    """The file to name in an error: that of the layout, if the recording has it, else the recording itself."""
    return recording / name if (recording / name).is_file() else recording


def key_of(folder: Path, input_dir: Path) -> str:
    """The place of a recording below the folder of all; bytes of its name that are no UTF-8 are escaped."""
    return printable(folder.relative_to(input_dir).as_posix())


def _natural_key(name: str) -> list[tuple[int, str]]:
    # Alternates text and digits, so that episode_2 comes before episode_10.
    return [(int(part) if i % 2 else 0, part) for i, part in enumerate(re.split(r"([0-9]+)", name))]
