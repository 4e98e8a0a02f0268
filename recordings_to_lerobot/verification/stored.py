"""An episode as a dataset has it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class StoredEpisode:
    """An episode as the dataset has it, N rows, and where its recording should be."""

    index: int
    record: dict  # its line in recordings.jsonl
    folder: Path  # of the recording
    fps: int
    size_px: tuple[int, int] | None  # (width, height) that its pictures were scaled to
    first_index: int
    channels: dict[str, list[str]]  # of action and observation.state
    columns: dict[str, np.ndarray]  # (N,), or (N, C)
    audit: dict[str, dict[str, np.ndarray]]  # columns by folder, NOTHING or NaN for null
    video: Path
    from_s: float
    sample_row: int  # whose picture is wanted
