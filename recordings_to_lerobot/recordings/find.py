"""Where recordings lie: the files that make a folder one, and all such folders below another."""

import os
import re
from pathlib import Path

from recordings_to_lerobot.recordings.validation import RecordingError

VIDEO_FILE = "video.mp4"
FRAME_TICKS_FILE = "frame_ts.bin"
EVENTS_FILE = "events.jsonl"
META_FILE = "meta.json"

EPISODE_FILES = (VIDEO_FILE, FRAME_TICKS_FILE, EVENTS_FILE, META_FILE)


def find_episodes(input_dir: Path) -> list[Path]:
    """Folders at or below `input_dir` that hold any file of the layout, in natural order; hidden ones are left out.

    Raises:
        RecordingError: There is no such folder, or no recording in it.
    """
    if not input_dir.is_dir():
        raise RecordingError(f"{input_dir}: no such folder; give the folder of your recordings as --input")
    folders = []
    for root, subfolders, files in os.walk(input_dir):
        # Hidden folders are what a recorder is still writing, or was killed over.
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        if not set(EPISODE_FILES).isdisjoint(files):
            folders.append(Path(root))
    if not folders:
        wanted = ", ".join(EPISODE_FILES)
        raise RecordingError(f"{input_dir}: no recordings found; an episode is a folder with {wanted}")
    return sorted(folders, key=lambda folder: [_natural_key(part) for part in folder.parts])


def _natural_key(name: str) -> list[tuple[int, str]]:
    # Alternates text and digits, so that episode_2 comes before episode_10.
    return [(int(part) if i % 2 else 0, part) for i, part in enumerate(re.split(r"([0-9]+)", name))]
