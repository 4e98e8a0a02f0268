"""The work folder beside a dataset, and how what was made in it takes the dataset's place."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from recordings_to_lerobot.recordings.validation import RecordingError

# Not changed by adding episodes: LeRobot begins new files.
_LINKED = ("data", "videos", "audit")


class Workplace:
    """Beside the dataset, since renaming is atomic only within a file system.

    Attributes:
        folder: Where finished parts of the work are kept until all is done.
        draft: The dataset in the making.
    """

    def __init__(self, root: Path):
        # A link to a dataset stays one.
        root = root.resolve()
        self._root = root
        self.folder = root.parent / f".{root.name}.work"
        self.draft = self.folder / "draft"
        self._replaced = self.folder / "replaced"
        self._lock = self.folder / "lock"

    @contextlib.contextmanager
    def occupy(self) -> Iterator[None]:
        """Keeps other processes out, and repairs what one that was killed has left.

        Raises:
            RecordingError: Another process is at work here, or a file cannot be written.
        """
        lock = FileLock(self._lock, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            raise RecordingError(f"{self._root}: another process is writing it; wait until it is done") from None
        try:
            if self._replaced.exists() and not self._root.exists():
                os.rename(self._replaced, self._root)
            shutil.rmtree(self._replaced, ignore_errors=True)
            shutil.rmtree(self.draft, ignore_errors=True)
            yield
            # Done, so nothing is left to go on with, whatever an earlier run has left.
            self._clear()
        except OSError as error:
            # A full disk, above all; what fails to write seldom knows where.
            raise RecordingError(
                f"{error.filename or self.folder}: {error.strerror or error}; {self._root} is as it was; make "
                "room if the disk is full, and run the same command again"
            ) from error
        finally:
            keeps_work = any(self.folder.glob("*.entry"))
            if not keeps_work:
                self._clear()
                # While it is still ours: whoever has opened it meanwhile sees that it is gone, and makes a new one.
                with contextlib.suppress(OSError):
                    self._lock.unlink()
            lock.release()
            if not keeps_work:
                # Not empty if another process has begun.
                with contextlib.suppress(OSError):
                    self.folder.rmdir()

    def _clear(self) -> None:
        """Throws away everything but the lock, which keeps others out."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path != self._lock:
                path.unlink(missing_ok=True)

    def copy_to_draft(self) -> None:
        """Makes the draft a copy of the dataset to which episodes can be added; large files are shared."""
        shutil.copytree(self._root, self.draft, ignore=shutil.ignore_patterns(*_LINKED))
        for name in _LINKED:
            if (self._root / name).is_dir():
                shutil.copytree(self._root / name, self.draft / name, copy_function=_link_or_copy)

    def publish_draft(self) -> None:
        """Puts the draft in the dataset's place."""
        if self._root.exists():
            os.rename(self._root, self._replaced)
        os.rename(self.draft, self._root)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
