"""What a user can choose about a conversion."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from recordings_to_lerobot.action_schema import MouseMode
from recordings_to_lerobot.validation import RecordingError

IdleMode = Literal["keep", "trim", "thin"]
VideoMode = Literal["auto", "copy", "encode"]


@dataclass(kw_only=True)
class LabelOptions:
    """What decides which rows an episode has, and their labels."""

    # Mouse channels: position at the end of each row, or movement during it
    mouse: MouseMode = "absolute"
    # YAML file with a key vocabulary of your own, name: code or name: [code, code]; docs/converting.md
    keys: Path | None = None
    # Milliseconds to add to event times, in place of the offset_ms of every meta.json
    offset_ms: float | None = None
    # Lay the rows on an exact grid of 1/fps instead of one row per recorded frame
    resample: bool = False
    # Keep frames that repeat the tick of the frame before
    keep_duplicates: bool = False
    # Put events that were written out of order into the order of their ticks
    sort_events: bool = False
    # Stretches without input in which the picture stands still: keep them, trim them to their first row,
    # or thin them to a row a second
    idle: IdleMode = "keep"
    # Shortest stretch that counts as idle, in seconds
    idle_s: float = 2.0


def check_options(options: LabelOptions) -> None:
    """Raises RecordingError for numbers that make no sense."""
    if options.offset_ms is not None and not math.isfinite(options.offset_ms):
        raise RecordingError(f"--offset_ms={options.offset_ms}: give a number of milliseconds")
    if not (math.isfinite(options.idle_s) and options.idle_s > 0):
        raise RecordingError(f"--idle_s={options.idle_s}: give a positive number of seconds")


@dataclass(kw_only=True)
class ConvertConfig(LabelOptions):
    """Convert recordings of screen, mouse and keyboard to a LeRobotDataset, or add new ones to it.

    Interrupted, the same command goes on where it was. On a finished dataset it adds what is new.
    """

    # Folder with the recordings, one folder per episode at any depth
    input: Path
    # Name of the dataset, USER/NAME
    repo_id: str
    # Folder of the dataset; LeRobot's own place for repo_id if not given
    root: Path | None = None
    # Instruction for episodes whose meta.json has no task
    task: str | None = None
    # Copy the packets of the source video, encode every frame again, or copy where that leaves the dataset
    # quick to read; docs/converting.md has the rule
    video: VideoMode = "auto"
    # Shares of episodes by split, as {train: 0.8, val: 0.1, test: 0.1}; all episodes of a `session` in
    # meta.json stay together
    splits: dict[str, float] = field(default_factory=dict)
    # Decides which episodes go to which split
    seed: int = 0
    # How many processes work on episodes at a time; as many as there are cores if not given
    workers: int | None = None
    # Refuse to write a dataset if any episode cannot be converted, instead of leaving those out
    strict: bool = False
    # Only say what would be done
    dry_run: bool = False

    def __post_init__(self):
        # Shells leave the tilde alone behind an equals sign.
        self.input = self.input.expanduser()
        self.root = self.root and self.root.expanduser()
        self.keys = self.keys and self.keys.expanduser()
