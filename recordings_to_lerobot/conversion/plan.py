"""Decides, from the entries of all episodes, what becomes of each: which are written, and with which video."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from recordings_to_lerobot.conversion.options import VideoMode
from recordings_to_lerobot.conversion.plan_entry import PlanEntry
from recordings_to_lerobot.dataset.video_format import VideoFormat
from recordings_to_lerobot.recordings.find import META_FILE, file_of
from recordings_to_lerobot.recordings.validation import RecordingError, printable

# Those of which LeRobot can edit a dataset: it encodes them again where it cuts, and joins files of different encoders,
# which makes HEVC unreadable.
_COPIED = {"h264": ("yuv420p", "yuvj420p", "yuv422p", "yuv444p"), "av1": ("yuv420p",)}
# Seconds of video passed to reach a frame, on average, in one with a key frame every three seconds. In time, not in
# frames: recorders put their key frames by the clock, and a higher rate packs more frames between two that differ less.
MAX_DECODED_S = 1.6


@dataclass
class Plan:
    """What is written, and what is left out and why."""

    entry_of: dict[Path, PlanEntry] = field(default_factory=dict)  # by folder, in the order of the dataset
    already_there: int = 0
    problems: dict[Path, tuple[str, ...]] = field(default_factory=dict)  # by folder: why it is left out
    video_format: VideoFormat | None = None  # of all videos; None: LeRobot's default
    not_copied: dict[Path, str] = field(default_factory=dict)  # by folder: why its video is encoded, not copied

    @property
    def entries(self) -> list[PlanEntry]:
        """What is written."""
        return list(self.entry_of.values())

    def refuse(self, folder: Path, problems: Iterable[str]) -> None:
        """Leaves a recording out."""
        name = printable(str(folder))
        self.problems[folder] = tuple(p if p.startswith(name) else f"{name}: {p}" for p in problems)
        self.entry_of.pop(folder, None)

    def check(self, strict: bool) -> None:
        """Raises NothingLeftError if nothing is left, and RecordingError, with `strict`, if anything was left out."""
        problems = [problem for problems in self.problems.values() for problem in problems]
        if problems and strict:
            raise RecordingError(*problems)
        if problems and not self.entry_of and not self.already_there:
            raise NothingLeftError(self, *problems)


class NothingLeftError(RecordingError):
    """None of the recordings can be converted."""

    def __init__(self, plan: Plan, *problems: str):
        super().__init__(*problems)
        self.plan = plan


def common_layout(entries: Iterable[PlanEntry]) -> tuple[int, tuple[int, int]]:
    """The frame rate and picture size (width, height) that most episodes have."""
    return Counter((entry.fps, entry.size_px) for entry in entries).most_common(1)[0][0]


def disagreement(entry: PlanEntry, fps: int, size_px: tuple[int, int]) -> list[str]:
    """Why an episode cannot share a dataset with the others; nothing if it can."""
    problems = []
    if entry.fps != fps:
        path = file_of(entry.folder, META_FILE)
        problems.append(f"{path}: `fps` is {entry.fps}, but {fps} in the dataset; pass --fps={fps}")
    if entry.size_px != size_px:
        found, wanted = (f"{width}×{height}" for width, height in (entry.size_px, size_px))
        path, option = entry.video, f"--size={size_px[0]}x{size_px[1]}"
        problems.append(f"{path}: pictures are {found}, but {wanted} in the dataset; pass {option}")
    return [f"{problem}, or convert it to a dataset of its own" for problem in problems]


def why_not_copied(entry: PlanEntry, mode: VideoMode, wanted: VideoFormat | None) -> str | None:
    """Why the video of an episode is not put into the dataset as it is; None if it is."""
    facts = entry.facts
    if mode == "encode":
        return "asked to encode"
    if facts.size_px != entry.size_px:
        return "its pictures are scaled"
    if not entry.rows_are_frames:
        return "its rows are not all frames of the video in order"
    if not facts.stands_alone:
        return "its packets depend on more than the video shows"
    if facts.pix_fmt not in _COPIED.get(facts.codec, ()):
        return f"LeRobot cannot edit a dataset of {facts.codec} {facts.pix_fmt}"
    if mode == "auto" and facts.mean_decoded > MAX_DECODED_S * entry.fps:
        seconds = facts.mean_decoded / entry.fps
        return f"key frames lie so far apart that reading a frame decodes {seconds:.1f} s of video"
    if wanted is not None and (facts.codec, facts.pix_fmt) != (wanted.codec, wanted.pix_fmt):
        return f"it is {facts.codec} {facts.pix_fmt}, and the dataset {wanted.codec} {wanted.pix_fmt}"
    return None


def choose_format(entries: Iterable[PlanEntry], mode: VideoMode) -> VideoFormat | None:
    """The format most of the episodes have that may be copied; None if there are none: LeRobot's default."""
    formats = Counter(
        VideoFormat(entry.facts.codec, entry.facts.pix_fmt)
        for entry in entries
        if why_not_copied(entry, mode, wanted=None) is None
    )
    return formats.most_common(1)[0][0] if formats else None
