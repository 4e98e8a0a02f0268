"""What all work on files shares: the digest of a recording, and files that appear when they are complete."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


def digest_of(files: Iterable[Path]) -> str:
    """Digest of the contents of the files of a recording; some may be missing."""
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
        digest.update(b"/")
    return digest.hexdigest()


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a new file, which appears at `path` when it is complete."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        part = Path(folder) / path.name
        write(part)
        os.replace(part, path)
