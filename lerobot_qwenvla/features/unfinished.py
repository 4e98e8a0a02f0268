"""The folder beside a feature dataset in which it is made; it outlives a killed process, and the next one goes on."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata

from lerobot_qwenvla.features.store import FEATURES_DIR

# In the dataset, also the finished one: what it was computed of and how.
RECIPE = Path("meta", "features.json")


@contextmanager
def unfinished(root: Path, recipe: dict[str, Any], begin: Callable[[Path], None]) -> Iterator[Path]:
    """The dataset in the making, which takes its place at `root` if all goes well and else stays for the next run.

    Args:
        root: Where the dataset goes; what is unfinished lies beside it, as only within a file system a folder can be
            renamed at once.
        recipe: What is computed of what; the same again goes on with what is there.
        begin: Writes a dataset to a folder, to begin with.

    Raises:
        ValueError: `root` exists, another process is computing it, or what is unfinished is of another recipe.
    """
    work = root.parent / f".{root.name}.unfinished"
    draft, beginning = work / "dataset", work / "beginning"
    _check_is_free(root)
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work / "lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"another process is computing {root}; wait until it is done, or end it") from None
    try:
        _check_is_free(root)
        if _has_features(draft):
            _check_recipe(draft / RECIPE, recipe, work)
        else:
            for folder in (draft, beginning):
                shutil.rmtree(folder, ignore_errors=True)
            begin(beginning)
            (beginning / FEATURES_DIR).mkdir()
            (beginning / RECIPE).write_text(json.dumps(recipe, indent=2))
            beginning.rename(draft)
        yield draft
        draft.rename(root)
    finally:
        lock.release()
        if not _has_features(draft):  # nothing was computed, or all of it is in its place
            shutil.rmtree(work, ignore_errors=True)


def dataset_identity(dataset: LeRobotDatasetMetadata) -> dict[str, Any]:
    """What tells a dataset from another, wherever it lies: its name, and a sum over its metadata and statistics."""
    folder = Path(dataset.root) / "meta"
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return {"repo_id": dataset.repo_id, "frames": dataset.total_frames, "metadata": digest.hexdigest()[:16]}


def _has_features(draft: Path) -> bool:
    return any(file.stat().st_size for file in (draft / FEATURES_DIR).glob("*"))


def _check_is_free(root: Path) -> None:
    if root.exists():
        raise ValueError(f"{root} exists; remove it or choose another --features_root")


def _check_recipe(file: Path, wanted: dict[str, Any], work: Path) -> None:
    try:
        found = _flat(json.loads(file.read_text()))
    except (OSError, ValueError, AttributeError):
        found = {}
    wanted = _flat(wanted)
    differing = [
        f"{name}={found.get(name)!r} instead of {wanted.get(name)!r}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
    if differing:
        raise ValueError(
            f"{work} has an unfinished run with {', '.join(differing)}; run that again to go on with it, remove the "
            "folder to start afresh, or choose another --features_root"
        )


def _flat(recipe: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} → {"a b": 1}"""
    flat = {}
    for name, value in recipe.items():
        flat.update(_flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {prefix + name: value})
    return flat
