"""What a converted dataset holds besides what LeRobot writes, and where."""

import json
from collections.abc import Iterable
from pathlib import Path

from recordings_to_lerobot.validation import RecordingError

SCREEN = "observation.images.screen"
FRAME_INDEX = "recording.frame_index"
TIMESTAMP_MS = "recording.timestamp_ms"

INFO_FILE = "meta/info.json"
# One line per episode: where it comes from, with which options, and counts of what was found.
RECORDINGS_FILE = "meta/recordings.jsonl"
# One row per raw event and per frame of the source videos, a row group per episode.
EVENTS_FOLDER = "audit/events"
FRAMES_FOLDER = "audit/frames"
# One line per recording that could not be converted.
QUARANTINE_FILE = "audit/quarantine.jsonl"


def read_records(root: Path) -> list[dict]:
    """The lines of `meta/recordings.jsonl`, in order of episodes.

    Raises:
        RecordingError: There is no dataset of this converter at `root`, or it was changed since.
    """
    if not root.is_dir():
        raise RecordingError(f"{root}: no such folder; give the folder of the dataset as --root")
    path = root / RECORDINGS_FILE
    if not path.is_file():
        raise RecordingError(
            f"{root}: holds no {RECORDINGS_FILE}, so recordings-to-lerobot did not write it, or another tool has "
            "rewritten it since; give the dataset as it was converted"
        )
    records = read_json_lines(path)
    total = json.loads((root / INFO_FILE).read_text(encoding="utf-8"))["total_episodes"]
    if [record["episode_index"] for record in records] != list(range(total)):
        raise RecordingError(
            f"{path}: {len(records)} episodes, but the dataset has {total}; it was changed after it was converted"
        )
    return records


def read_json_lines(path: Path) -> list[dict]:
    """Objects of a file with one in each line."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def append_json_line(path: Path, entry: dict) -> None:
    """Adds a line to such a file, which need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, allow_nan=False, ensure_ascii=False) + "\n")


def write_json_lines(path: Path, entries: Iterable[dict]) -> None:
    """Writes such a file anew, not over what the old one shares its contents with."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    for entry in entries:
        append_json_line(path, entry)
