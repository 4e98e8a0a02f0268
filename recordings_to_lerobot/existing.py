"""A dataset that was converted before, to which episodes may be added."""

import json
from dataclasses import dataclass
from pathlib import Path

from recordings_to_lerobot.dataset_layout import INFO_FILE, SCREEN, read_records
from recordings_to_lerobot.planning import VideoFormat
from recordings_to_lerobot.validation import RecordingError


@dataclass(frozen=True)
class ExistingDataset:
    """What new episodes must agree with."""

    identities: dict[str, frozenset[str]]  # by source: digests of the contents of the episodes from there
    fps: int
    size_px: tuple[int, int]
    video: VideoFormat


def read_existing(root: Path, options: dict, splits: dict[str, float]) -> ExistingDataset | None:
    """The dataset at `root`; None if there is none.

    Raises:
        RecordingError: There is something else, or `options` or `splits` rule out adding to it.
    """
    if not root.exists():
        return None
    records = read_records(root)
    info = json.loads((root / INFO_FILE).read_text(encoding="utf-8"))
    used = records[0]["options"]
    for name, value in options.items():
        if used.get(name) != value:
            raise RecordingError(
                f"{root}: was converted with {name}={used.get(name)}, not {value}; "
                "give the same options, or another --root"
            )
    if splits or set(info["splits"]) != {"train"}:
        raise RecordingError(
            f"{root}: exists, and adding episodes would break the ranges of its splits; give another --root to convert "
            "everything again"
        )
    feature = info["features"][SCREEN]
    height_px, width_px, _ = feature["shape"]
    video = VideoFormat(feature["info"]["video.codec"], feature["info"]["video.pix_fmt"])
    identities: dict[str, frozenset[str]] = {}
    for record in records:
        identities[record["source"]] = identities.get(record["source"], frozenset()) | {record["identity"]}
    return ExistingDataset(identities, info["fps"], (width_px, height_px), video)
