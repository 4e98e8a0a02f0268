"""A dataset that was converted before, to which episodes may be added."""

import json
from dataclasses import dataclass
from pathlib import Path

from recordings_to_lerobot.actions.channels import SCHEMA_VERSION
from recordings_to_lerobot.dataset.layout import Layout
from recordings_to_lerobot.dataset.names import INFO_FILE, QUARANTINE_FILE, SCREEN
from recordings_to_lerobot.dataset.records import read_records
from recordings_to_lerobot.dataset.video_format import VideoFormat
from recordings_to_lerobot.recordings.validation import RecordingError


@dataclass(frozen=True)
class ExistingDataset:
    """What new episodes must agree with."""

    digests: dict[str, str]  # digest of the contents of the recording, by where it was
    layout: Layout
    has_splits: bool


def read_existing(root: Path, options: dict) -> ExistingDataset | None:
    """The dataset at `root`; None if there is none.

    Raises:
        RecordingError: There is something else, or it was converted with other options.
    """
    if not root.exists() or is_left_out(root):
        return None
    records = read_records(root)
    info = json.loads((root / INFO_FILE).read_text(encoding="utf-8"))
    version = records[0].get("schema_version")
    if version != SCHEMA_VERSION:
        raise RecordingError(
            f"{root}: its actions are those of version {version}, and this converter writes version {SCHEMA_VERSION}; "
            "give another --root to convert everything again"
        )
    used = records[0]["options"]
    for name, value in options.items():
        if name == "mouse_scale" and value is None:
            continue  # that of the dataset holds
        # As text, because the order of keys is that of the channels.
        if json.dumps(used.get(name)) != json.dumps(value):
            raise RecordingError(
                f"{root}: was converted with {name}={used.get(name)}, not {value}; "
                "give the same options, or another --root"
            )
    height_px, width_px, _ = info["features"][SCREEN]["shape"]
    digests = {record["source"]: record["identity"] for record in records}
    has_splits = set(info["splits"]) != {"train"}
    video = video_format(info)
    layout = Layout(info["fps"], width_px, height_px, video.codec, video.pix_fmt, used["mouse_scale"])
    return ExistingDataset(digests, layout, has_splits)


def is_left_out(root: Path) -> bool:
    """Whether it is a shard of which no recording could be converted: there is nothing but why."""
    return (root / QUARANTINE_FILE).exists() and not (root / INFO_FILE).exists()


def video_format(info: dict) -> VideoFormat:
    """The format of the videos of a dataset, by its `meta/info.json`."""
    found = info["features"][SCREEN]["info"]
    return VideoFormat(found["video.codec"], found["video.pix_fmt"])
