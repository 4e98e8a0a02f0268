"""What decides which rows an episode has, and their labels."""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, Self

from recordings_to_lerobot.actions.channels import ActionSpace, ExtraChannels, MouseMode
from recordings_to_lerobot.actions.vocabulary import KeyCodes
from recordings_to_lerobot.recordings.validation import RecordingError

# As many as a recording may have frames a second.
MAX_FPS = 1000

Repair = Literal["frames", "order", "keys", "gaps"]
IdleMode = Literal["keep", "trim", "thin"]


@dataclass(kw_only=True)
class LabelOptions:
    """What decides which rows an episode has, and their labels."""

    # Mouse channels: position at the end of each row (absolute), movement during it (delta), or movement of a
    # captured mouse, which has no position (relative)
    mouse: MouseMode = "absolute"
    # With --mouse=relative, the counts that make 1; measured from the recordings if not given
    mouse_scale: float | None = None
    # Channels behind the others: side_buttons, wheel; as '[side_buttons, wheel]'
    extra_channels: list[ExtraChannels] = field(default_factory=list)
    # YAML file with a key vocabulary of your own, name: code or name: [code, code]; docs/converting.md
    keys: Path | None = None
    # Milliseconds to add to event times, in place of the offset_ms of every meta.json
    offset_ms: float | None = None
    # Rows a second, on an exact grid, whatever the rate of the recordings
    fps: int | None = None
    # Lay the rows on the exact grid of the recordings' own rate, instead of one row per recorded frame
    resample: bool = False
    # Keep frames that repeat the tick of the frame before
    keep_duplicates: bool = False
    # What to repair, as '[frames, order]': frames without a tick and ticks without a frame, events that were written
    # out of order, keys and buttons that are stuck at the end, gaps in which the recorder saw nothing
    repair: list[Repair] = field(default_factory=list)
    # Stretches without input in which the picture stands still: keep them, trim them to their first row,
    # or thin them to a row a second
    idle: IdleMode = "keep"
    # Shortest stretch that counts as idle, in seconds
    idle_s: float = 2.0

    @classmethod
    def recorded(cls, options: dict) -> Self:
        """Those that the record of an episode keeps, but for the vocabulary, which it spells out."""
        names = {option.name for option in fields(LabelOptions)} - {"keys"}
        return cls(**{name: value for name, value in options.items() if name in names})

    def action_space(self, key_codes: KeyCodes) -> ActionSpace:
        """The channels of state and action, with the keys of a vocabulary."""
        return ActionSpace(self.mouse, key_codes, tuple(self.extra_channels))


def check_options(options: LabelOptions) -> None:
    """Raises RecordingError for numbers that make no sense."""
    if options.offset_ms is not None and not math.isfinite(options.offset_ms):
        raise RecordingError(f"--offset_ms={options.offset_ms}: give a number of milliseconds")
    if options.fps is not None and not 1 <= options.fps <= MAX_FPS:
        raise RecordingError(f"--fps={options.fps}: give 1 to {MAX_FPS} rows a second")
    scale = options.mouse_scale
    if scale is not None and not (options.mouse == "relative" and math.isfinite(scale) and scale > 0):
        raise RecordingError(f"--mouse_scale={scale}: give a positive number of counts, and --mouse=relative")
    if not (math.isfinite(options.idle_s) and options.idle_s > 0):
        raise RecordingError(f"--idle_s={options.idle_s}: give a positive number of seconds")
