"""Files with an object a line, and the records: where each episode comes from, and what was found in it."""

import json
from collections.abc import Iterable
from pathlib import Path

from recordings_to_lerobot.dataset.names import INFO_FILE, RECORDINGS_FILE
from recordings_to_lerobot.recordings.validation import RecordingError


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
