"""What is known about recordings after looking into them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from recordings_to_lerobot.inspection.clock_offset import Confidence, OffsetEstimate, OffsetEvidence


@dataclass(frozen=True)
class Intervals:
    """Times between successive frames that are no duplicates, in milliseconds."""

    median_ms: float
    p95_ms: float
    max_ms: float
    jitter_ms: float  # standard deviation


@dataclass(frozen=True)
class Use:
    """How a key or button was used."""

    presses: int
    held_share: float  # of the rows in which it is down; 0 for what is not in the vocabulary


@dataclass(frozen=True)
class Offset:
    """Milliseconds to add to the event times so that they fit the pictures best, beside those added already."""

    offset_ms: float
    low_ms: float
    high_ms: float
    confidence: Confidence

    @classmethod
    def of(cls, estimate: OffsetEstimate) -> Self:
        """The numbers of an estimate."""
        return cls(round(estimate.offset_ms, 1), estimate.low_ms, estimate.high_ms, estimate.confidence)


@dataclass(frozen=True)
class EpisodeSummary:
    """What a reader of a report wants to know of a recording."""

    source: str  # its folder, as seen from that of all recordings
    task: str
    canvas_px: tuple[int, int]
    fps: float
    fps_measured: float
    duration_s: float
    frames: int
    duplicate_frames: int
    rows: int  # without duplicates, or on the grid of --resample
    rows_kept: int  # without idle ones: with --idle=keep, as if it were trim
    intervals: Intervals
    events: dict[str, int]  # by kind
    findings: dict[str, int]  # what is odd about them, by name
    uses: dict[str, Use]  # by channel, or "key 0xNN" outside the vocabulary
    mouse_travel: float  # in canvas widths and heights
    idle_s: float
    offset: Offset | None  # None if too little happens to say


@dataclass(frozen=True)
class Traces:
    """What the figures of a report are drawn from."""

    interval_ms: np.ndarray  # (K - 1,) float64
    events_per_s: np.ndarray  # (D,) int64, in each whole second
    idle_s: np.ndarray  # (I, 2) float64, from and to, since the first frame
    mouse_map: np.ndarray  # (B, B) int64, rows of the dataset by y and x
    evidence: OffsetEvidence


@dataclass(frozen=True)
class Inspection:
    """The result of looking into one recording."""

    folder: Path
    summary: EpisodeSummary
    traces: Traces


@dataclass(frozen=True)
class Totals:
    """What all recordings that can be converted come to."""

    duration_s: float
    idle_s: float
    rows: int
    rows_kept: int
    duplicate_frames: int
    events: dict[str, int]  # by kind
    findings: dict[str, int]
    tasks: dict[str, int]  # recordings with each, most first
    presses: dict[str, int]  # of each button and key, most first


@dataclass(frozen=True)
class FolderInspection:
    """The result of looking into a folder of recordings."""

    name: str
    inspections: tuple[Inspection, ...]
    problems: dict[str, tuple[str, ...]]  # what keeps each of the others from being converted
    offset: OffsetEstimate | None  # of all together

    @property
    def summaries(self) -> list[EpisodeSummary]:
        """Of each of `inspections`."""
        return [inspection.summary for inspection in self.inspections]

    @property
    def totals(self) -> Totals:
        """Sums over `inspections`."""
        episodes = self.summaries
        events, findings, presses = Counter[str](), Counter[str](), Counter[str]()
        for episode in episodes:
            events.update(episode.events)
            findings.update(episode.findings)
            presses.update({name: use.presses for name, use in episode.uses.items()})
        return Totals(
            duration_s=sum(episode.duration_s for episode in episodes),
            idle_s=sum(episode.idle_s for episode in episodes),
            rows=sum(episode.rows for episode in episodes),
            rows_kept=sum(episode.rows_kept for episode in episodes),
            duplicate_frames=sum(episode.duplicate_frames for episode in episodes),
            events=dict(events.most_common()),
            findings=dict(findings.most_common()),
            tasks=dict(Counter(episode.task for episode in episodes).most_common()),
            presses=dict(presses.most_common()),
        )
