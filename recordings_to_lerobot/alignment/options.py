"""What decides which rows an episode has, and their labels."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recordings_to_lerobot.actions.channels import MouseMode
from recordings_to_lerobot.recordings.validation import RecordingError

IdleMode = Literal["keep", "trim", "thin"]


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
