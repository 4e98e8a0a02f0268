"""Remembers in a dataset how its recordings looked when they were read, so that they are not read again."""

import json
from collections.abc import Iterable
from pathlib import Path

from recordings_to_lerobot.dataset.names import DIGESTS_FILE
from recordings_to_lerobot.importers.formats import files_of
from recordings_to_lerobot.recordings.files import write_whole


class DigestMemory:
    """By recording its digest, and the sizes and times of its files at that moment."""

    def __init__(self, root: Path):
        self._stamps: dict[str, str] = {}  # at the start of this run
        try:
            self._known: dict[str, list[str]] = json.loads((root / DIGESTS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}  # nothing is lost but time

    def is_unchanged(self, key: str, folder: Path, digest: str | None) -> bool:
        """Whether the files of a recording look as they did when they had this digest; looks at them in any case."""
        try:
            self._stamps[key] = _stamp(files_of(folder))
        except OSError:
            return False  # reading it will say what is wrong
        return digest is not None and self._known.get(key) == [digest, self._stamps[key]]

    def confirm(self, key: str, digest: str) -> None:
        """The recording has this digest, read after it was looked at."""
        if key in self._stamps:
            self._known[key] = [digest, self._stamps[key]]

    def save(self, root: Path) -> None:
        """Keeps it in a dataset for the next run."""
        path, content = root / DIGESTS_FILE, json.dumps(self._known, sort_keys=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda part: part.write_text(content, encoding="utf-8"))


def _stamp(files: Iterable[Path]) -> str:
    """Size and time of change of each file, which change with its contents."""
    stamps = []
    for path in files:
        try:
            status = path.stat()
            stamps.append(f"{status.st_size}@{status.st_mtime_ns}")
        except OSError:
            stamps.append("missing")
    return " ".join(stamps)
