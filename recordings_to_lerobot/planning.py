"""Decides, from the outlines of all episodes, what becomes of each: which are written, and with which video."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from recordings_to_lerobot.options import VideoMode
from recordings_to_lerobot.preparation import Outline
from recordings_to_lerobot.recording import META_FILE
from recordings_to_lerobot.validation import RecordingError

# Those of which LeRobot can edit a dataset: it encodes them again where it cuts, and joins files of different encoders,
# which makes HEVC unreadable.
_COPIED = {"h264": ("yuv420p", "yuvj420p", "yuv422p", "yuv444p"), "av1": ("yuv420p",)}
# Frames passed to reach one, on average, in a video with a key frame every three seconds at ten frames a second.
# LeRobot's own encoding comes to 1.5.
MAX_DECODED = 16.0


@dataclass(frozen=True)
class VideoFormat:
    """What all videos of a dataset have in common, so that LeRobot can join them."""

    codec: str
    pix_fmt: str


@dataclass
class Plan:
    """What is written, and what is left out and why."""

    outlines: list[Outline] = field(default_factory=list)
    already_there: int = 0
    problems: dict[Path, tuple[str, ...]] = field(default_factory=dict)  # by folder: why it is left out
    video_format: VideoFormat | None = None  # of all videos; None: LeRobot's default
    not_copied: dict[Path, str] = field(default_factory=dict)  # by folder: why its video is encoded, not copied

    def refuse(self, folder: Path, problems: Iterable[str]) -> None:
        """Leaves a recording out."""
        self.problems[folder] = tuple(p if p.startswith(str(folder)) else f"{folder}: {p}" for p in problems)
        self.outlines = [outline for outline in self.outlines if outline.folder != folder]

    def check(self, strict: bool) -> None:
        """Raises RecordingError if nothing is left, or with `strict` if anything was left out."""
        if self.problems and (strict or (not self.outlines and not self.already_there)):
            raise RecordingError(*(problem for problems in self.problems.values() for problem in problems))


def common_layout(outlines: Iterable[Outline]) -> tuple[int, tuple[int, int]]:
    """The frame rate and picture size (width, height) that most episodes have."""
    return Counter((outline.fps, outline.size_px) for outline in outlines).most_common(1)[0][0]


def disagreement(outline: Outline, fps: int, size_px: tuple[int, int]) -> list[str]:
    """Why an episode cannot share a dataset with the others; nothing if it can."""
    path = outline.folder / META_FILE
    problems = []
    if outline.fps != fps:
        problems.append(f"{path}: `fps` is {outline.fps}, but {fps} in the dataset")
    if outline.size_px != size_px:
        found, wanted = (f"{width}×{height}" for width, height in (outline.size_px, size_px))
        problems.append(f"{path}: the canvas is {found}, but {wanted} in the dataset")
    return [f"{problem}; convert it to a dataset of its own" for problem in problems]


def why_not_copied(outline: Outline, mode: VideoMode, wanted: VideoFormat | None) -> str | None:
    """Why the video of an episode is not put into the dataset as it is; None if it is."""
    facts = outline.facts
    if mode == "encode":
        return "asked to encode"
    if not outline.rows_are_frames:
        return "its rows are not all frames of the video in order"
    if not facts.stands_alone:
        return "its packets depend on more than the video shows"
    if facts.pix_fmt not in _COPIED.get(facts.codec, ()):
        return f"LeRobot cannot edit a dataset of {facts.codec} {facts.pix_fmt}"
    if mode == "auto" and facts.mean_decoded > MAX_DECODED:
        return f"key frames lie so far apart that reading a frame decodes {facts.mean_decoded:.0f}"
    if wanted is not None and (facts.codec, facts.pix_fmt) != (wanted.codec, wanted.pix_fmt):
        return f"it is {facts.codec} {facts.pix_fmt}, and the dataset {wanted.codec} {wanted.pix_fmt}"
    return None


def choose_format(outlines: Iterable[Outline], mode: VideoMode) -> VideoFormat | None:
    """The format most of the episodes have that may be copied; None if there are none: LeRobot's default."""
    formats = Counter(
        VideoFormat(outline.facts.codec, outline.facts.pix_fmt)
        for outline in outlines
        if why_not_copied(outline, mode, wanted=None) is None
    )
    return formats.most_common(1)[0][0] if formats else None
