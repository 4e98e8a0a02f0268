"""What a user can choose about a conversion."""

from dataclasses import dataclass
from pathlib import Path

from recordings_to_lerobot.action_encoding import MouseMode


@dataclass
class ConvertConfig:
    """Convert recordings of screen, mouse and keyboard to a LeRobotDataset."""

    # Folder with the recordings, one folder per episode at any depth
    input: Path
    # Name of the dataset, USER/NAME
    repo_id: str
    # Folder to write, which must not exist; LeRobot's own place for repo_id if not given
    root: Path | None = None
    # Instruction for episodes whose meta.json has no task
    task: str | None = None
    # Mouse channels: position at the end of each row, or movement during it
    mouse: MouseMode = "absolute"
    # Lay the rows on an exact grid of 1/fps instead of one row per recorded frame
    resample: bool = False
    # Keep frames that repeat the tick of the frame before
    keep_duplicates: bool = False
    # Put events that were written out of order into the order of their ticks
    sort_events: bool = False

    def __post_init__(self):
        # Shells leave the tilde alone behind an equals sign.
        self.input = self.input.expanduser()
        self.root = self.root and self.root.expanduser()
