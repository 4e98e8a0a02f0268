"""The work on one recording, done apart from all others: everything its episode needs but a place in a dataset.

What is finished lies in a work folder under a name made of all that it depends on, so that an interrupted
conversion goes on where it was.
"""

import hashlib
import json
import os
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np

from recordings_to_lerobot.action_schema import SCHEMA_VERSION, KeyCodes
from recordings_to_lerobot.idle import Stretch, find_idle, kept_rows
from recordings_to_lerobot.image_stats import sample_levels
from recordings_to_lerobot.labelling import Labels, check_and_label
from recordings_to_lerobot.ledger import EventLedger, FrameLedger, account_for_events, account_for_frames
from recordings_to_lerobot.options import LabelOptions
from recordings_to_lerobot.recording import EPISODE_FILES, META_FILE, VIDEO_FILE, Recording, read_recording
from recordings_to_lerobot.screen_change import block_luma
from recordings_to_lerobot.timeline import kept_frames
from recordings_to_lerobot.validation import RecordingError
from recordings_to_lerobot.video import VideoFacts, check_video, iterate_frames
from recordings_to_lerobot.video_writing import EncoderSettings, encode_video


@dataclass(frozen=True)
class Preparation:
    """What all recordings of a conversion have in common."""

    input: Path
    options: LabelOptions
    key_codes: KeyCodes
    task: str | None
    work: Path
    find_idle: bool  # even if nothing is done about it, which takes decoding every frame


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
class Outline:
    """What the plan of a conversion needs to know of an episode."""

    folder: Path
    source: str  # the folder, as seen from that of all recordings
    identity: str  # digest of the contents of its files
    path: Path  # the PreparedEpisode
    n_rows: int
    fps: int
    size_px: tuple[int, int]
    session: str | None
    counts: dict[str, int]
    pressed: frozenset[str]  # buttons and keys
    facts: VideoFacts
    rows_are_frames: bool  # all frames of the video, each once and in order


@dataclass(frozen=True)
class Job:
    """A recording to prepare, unless the dataset has it: then `known` is its identity there."""

    folder: Path
    known: str | None = None


def prepare(job: Job, common: Preparation) -> Outline | None:
    """Reads, checks and labels one recording, or finds that this was done before; None if the dataset has it.

    Raises:
        RecordingError: With everything that is wrong with it.
    """
    folder = job.folder
    try:
        identity = identity_of(folder)
    except OSError as error:
        raise RecordingError(
            f"{error.filename}: unreadable ({error.strerror}); allow reading it, or remove it"
        ) from None
    if identity == job.known:
        return None
    if job.known:
        raise RecordingError(
            f"{folder}: changed since it was converted; to convert it again give another --root, to add it as a new "
            "recording rename its folder"
        )
    source = folder.relative_to(common.input).as_posix()
    depends_on = [SCHEMA_VERSION, source, identity, asdict(common.options), common.key_codes, common.task]
    key = hashlib.blake2b(json.dumps(depends_on, default=str).encode(), digest_size=16).hexdigest()
    outline_path, path = common.work / f"{key}.outline", common.work / f"{key}.episode"
    if outline_path.is_file():
        # Everything may have been moved since.
        return replace(pickle.loads(outline_path.read_bytes()), folder=folder, path=path)
    episode, facts = _prepare(folder, common)
    meta, labels = episode.recording.meta, episode.labels
    pressed = labels.action.any(axis=0)
    outline = Outline(
        folder=folder,
        source=source,
        identity=identity,
        path=path,
        n_rows=len(labels.timeline),
        fps=int(meta.fps),
        size_px=(meta.canvas_w, meta.canvas_h),
        session=None if meta.session is None else str(meta.session),
        counts=episode.counts,
        pressed=frozenset(n for n in compress(labels.channels, pressed) if not n.startswith("mouse.")),
        facts=facts,
        rows_are_frames=np.array_equal(labels.timeline.frame_index, np.arange(len(episode.recording.frame_ticks))),
    )
    write_whole(path, lambda part: part.write_bytes(pickle.dumps(episode)))
    write_whole(outline_path, lambda part: part.write_bytes(pickle.dumps(outline)))
    return outline


def _prepare(folder: Path, common: Preparation) -> tuple[PreparedEpisode, VideoFacts]:
    recording = read_recording(folder, common.options.sort_events)
    meta, video = recording.meta, folder / VIDEO_FILE
    size_px = (meta.canvas_w, meta.canvas_h)
    n_frames = len(recording.frame_ticks)
    task = (meta.task or "").strip() or (common.task or "").strip()
    problems: list[str] = []
    try:
        labels, facts = check_and_label(recording, common.options, common.key_codes)
    except RecordingError as error:
        problems += error.problems
    if not task:
        problems.append(f"{folder / META_FILE}: no `task`; add the instruction there, or pass --task=TEXT")
    if problems:
        raise RecordingError(*problems)
    events = recording.events
    untrimmed = labels.timeline
    stretches: list[Stretch] = []
    is_kept = np.ones(len(untrimmed), dtype=bool)  # (N,)
    if common.find_idle or common.options.idle != "keep":
        try:
            luma = block_luma(video, untrimmed.frame_index)
            stretches = find_idle(labels, events, luma, meta.fps, common.options.idle_s)
        except RecordingError:
            # A video that is only copied need not be sound in every frame.
            if common.options.idle != "keep":
                raise
        is_kept = kept_rows(len(untrimmed), stretches, common.options.idle, int(meta.fps))
        labels = labels.take(is_kept)
    kept = kept_frames(recording.frame_ticks, common.options.keep_duplicates)
    event_ledger = account_for_events(events, labels.event_ns, labels.timeline, size_px, common.key_codes)
    kinds = np.bincount(events.kind, minlength=len(events.kinds)).tolist()
    counts = {
        "video_frames": n_frames,
        "rows": len(labels.timeline),
        "duplicates_dropped": n_frames - len(kept),
        "idle_rows": sum(stretch.stop_row - stretch.start_row for stretch in stretches),
        "idle_rows_dropped": len(untrimmed) - len(labels.timeline),
        **event_ledger.counts(),
    }
    episode = PreparedEpisode(
        recording=recording,
        labels=labels,
        event_ledger=event_ledger,
        frame_ledger=account_for_frames(n_frames, kept, labels.timeline, untrimmed),
        task=task,
        dropped_rows=_runs(np.flatnonzero(~is_kept)),
        levels=sample_levels(video, facts),
        counts=counts,
        kinds=dict(zip(events.kinds, kinds, strict=True)),
    )
    return episode, facts


def _runs(rows: np.ndarray) -> list[list[int]]:
    """Increasing indices as [start, stop) of each run of neighbours."""
    if not rows.size:
        return []
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return [[int(run[0]), int(run[-1]) + 1] for run in runs]


def encode_episode(outline: Outline, settings: EncoderSettings) -> tuple[Path, VideoFacts]:
    """Encodes the rows of an episode to a video of its own, or finds that this was done before.

    Raises:
        RecordingError: A frame cannot be decoded.
    """
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=4).hexdigest()
    path = outline.path.with_suffix(f".{digest}.mp4")
    if not path.is_file():
        episode: PreparedEpisode = pickle.loads(outline.path.read_bytes())
        frames = iterate_frames(outline.folder / VIDEO_FILE, episode.labels.timeline.frame_index)
        write_whole(path, lambda part: encode_video(frames, part, outline.fps, settings))
    return path, check_video(path, outline.size_px, outline.n_rows)


def identity_of(folder: Path) -> str:
    """Digest of the contents of a recording; files may be missing."""
    digest = hashlib.blake2b(digest_size=16)
    for name in EPISODE_FILES:
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
        digest.update(b"/")
    return digest.hexdigest()


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a new file, which appears at `path` when it is complete."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        part = Path(folder) / path.name
        write(part)
        os.replace(part, path)
