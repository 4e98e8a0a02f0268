"""An episode as it is written: rows with labels, the account of what became of everything, and its video."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recordings_to_lerobot.alignment.labels import Labels
from recordings_to_lerobot.alignment.ledger import EventLedger, FrameLedger
from recordings_to_lerobot.recordings.recording import Recording
from recordings_to_lerobot.video.probe import VideoFacts


@dataclass(frozen=True)
class PreparedEpisode:
    """An episode ready to be written."""

    recording: Recording
    labels: Labels
    event_ledger: EventLedger
    frame_ledger: FrameLedger
    task: str
    dropped_rows: list[list[int]]  # [start, stop) of each run of idle rows, numbered as before they were dropped
    levels: np.ndarray  # (3, 256) int64
    counts: dict[str, int]
    kinds: dict[str, int]  # how many events of each


@dataclass(frozen=True)
class NewEpisode:
    """An episode to write: its rows, and a video with a frame for each of them."""

    key: str  # the folder of the recording, as seen from that of all
    digest: str  # of the contents of its files
    task: str
    prepared: Path  # the pickled PreparedEpisode
    video: Path
    facts: VideoFacts
    is_copied: bool
    split: str
