"""The options of a conversion."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.importers.formats import FormatChoice
from recordings_to_lerobot.recordings.validation import RecordingError

VideoMode = Literal["auto", "copy", "encode"]


@dataclass(kw_only=True)
class ConvertConfig(LabelOptions):
    """Convert recordings of screen, mouse and keyboard to a LeRobotDataset, or add new ones to it.

    Interrupted, the same command goes on where it was. On a finished dataset it adds what is new.
    """

    # Folder with the recordings, at any depth
    input: Path
    # Which recorder's files to take; those of all it knows if not given
    format: FormatChoice = "auto"
    # Name of the dataset, USER/NAME
    repo_id: str
    # Folder of the dataset; LeRobot's own place for repo_id if not given
    root: Path | None = None
    # Instruction for episodes that have none of their own
    task: str | None = None
    # Copy the packets of the source video, encode every frame again, or copy where that leaves the dataset
    # quick to read; docs/converting.md has the rule
    video: VideoMode = "auto"
    # Size of the pictures, as 384x384, each scaled on its own axis; as they were recorded if not given
    size: str | None = None
    # YAML file of the rate, size, video format and mouse scale of all datasets that are to be merged; a dry run over
    # a sample writes it
    layout: Path | None = None
    # Shares of episodes by split, as {train: 0.8, val: 0.1, test: 0.1}; all episodes of a `session` in
    # meta.json stay together
    splits: dict[str, float] = field(default_factory=dict)
    # Decides which episodes go to which split
    seed: int = 0
    # How many processes work on episodes at a time; as many as there are cores if not given, 0: none but this one
    workers: int | None = None
    # Refuse to write a dataset if any episode cannot be converted, instead of leaving those out
    strict: bool = False
    # Only say what would be done
    dry_run: bool = False

    def __post_init__(self):
        # Shells leave the tilde alone behind an equals sign.
        self.input = self.input.expanduser()
        self.root = self.root and self.root.expanduser()
        self.layout = self.layout and self.layout.expanduser()
        if self.size is not None and not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", self.size):
            raise RecordingError(f"--size={self.size}: give width and height in pixels, as 384x384")
        self.keys = self.keys and self.keys.expanduser()

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height of `size`."""
        if self.size is None:
            return None
        width_px, height_px = self.size.split("x")
        return int(width_px), int(height_px)
