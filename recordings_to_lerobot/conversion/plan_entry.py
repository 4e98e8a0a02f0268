"""What the plan of a conversion needs to know of an episode."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recordings_to_lerobot.video.probe import VideoFacts


@dataclass(frozen=True)
class PlanEntry:
    """What the plan of a conversion needs to know of an episode."""

    folder: Path  # where it lies; a file, if its recorder keeps several in a folder
    video: Path
    key: str  # where it lies, as seen from that of all recordings
    digest: str  # of the contents of its files
    path: Path  # the PreparedEpisode
    task: str
    n_rows: int
    fps: int
    size_px: tuple[int, int]
    session: str | None
    counts: dict[str, int]
    moves: np.ndarray | None  # (M,) float32, as `largest_moves`, with --mouse=relative
    pressed: frozenset[str]  # buttons and keys
    facts: VideoFacts
    rows_are_frames: bool  # all frames of the video, each once and in order

    def forget(self) -> None:
        """Throws away what was prepared."""
        self.path.with_suffix(".entry").unlink()
        self.path.unlink()
