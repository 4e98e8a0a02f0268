"""The work on one recording, done apart from all others: everything its episode needs but a place in a dataset.

What is finished lies in a work folder under a name made of all that it depends on, so that an interrupted
conversion goes on where it was.
"""

import hashlib
import json
import pickle
from dataclasses import asdict, dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np

from recordings_to_lerobot.actions.channels import SCHEMA_VERSION
from recordings_to_lerobot.actions.vocabulary import KeyCodes
from recordings_to_lerobot.alignment.idle import Stretch, find_idle, kept_rows
from recordings_to_lerobot.alignment.labels import label_recording
from recordings_to_lerobot.alignment.ledger import account_for_events, account_for_frames, tick_counts
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.alignment.relative import largest_moves
from recordings_to_lerobot.alignment.timeline import GAP_NS, NS_PER_S, kept_frames
from recordings_to_lerobot.conversion.plan_entry import PlanEntry
from recordings_to_lerobot.dataset.episode import PreparedEpisode
from recordings_to_lerobot.importers.formats import files_of, read_recording
from recordings_to_lerobot.recordings.files import digest_of, write_whole
from recordings_to_lerobot.recordings.find import META_FILE, file_of, key_of
from recordings_to_lerobot.recordings.validation import Problems, RecordingError
from recordings_to_lerobot.video.block_luma import block_luma
from recordings_to_lerobot.video.decode import iterate_frames, scale
from recordings_to_lerobot.video.encode import EncoderSettings, encode_video
from recordings_to_lerobot.video.frame_repair import repair_frame_ticks
from recordings_to_lerobot.video.probe import VideoFacts, check_video
from recordings_to_lerobot.video.sample import sample_levels


@dataclass(frozen=True)
class Common:
    """What all recordings of a conversion have in common."""

    input: Path
    options: LabelOptions
    key_codes: KeyCodes
    task: str | None
    size_px: tuple[int, int] | None  # of the pictures (width, height); None: as they are
    work: Path
    find_idle: bool  # even if nothing is done about it, which takes decoding every frame


@dataclass(frozen=True)
class Job:
    """A recording to prepare, unless the dataset has it: then `known` is its digest there."""

    folder: Path
    known: str | None = None


def prepare(job: Job, common: Common) -> PlanEntry | None:
    """Reads, checks and labels one recording, or finds that this was done before; None if the dataset has it.

    Raises:
        RecordingError: With everything that is wrong with it.
    """
    folder = job.folder
    key = key_of(folder, common.input)
    if key != folder.relative_to(common.input).as_posix():
        raise RecordingError(f"{folder}: its name is not UTF-8; rename it")
    try:
        digest = digest_of(files_of(folder))
    except OSError as error:
        raise RecordingError(
            f"{error.filename}: unreadable ({error.strerror}); allow reading it, or remove it"
        ) from None
    if digest == job.known:
        return None
    if job.known:
        raise RecordingError(
            f"{folder}: changed since it was converted; to convert it again give another --root, to add it as a new "
            "recording rename its folder"
        )
    assert common.options.mouse_scale is None  # which is known when all are prepared
    depends_on = [SCHEMA_VERSION, key, digest, asdict(common.options), common.key_codes, common.task, common.size_px]
    name = hashlib.blake2b(json.dumps(depends_on, default=str).encode(), digest_size=16).hexdigest()
    entry_path, path = common.work / f"{name}.entry", common.work / f"{name}.episode"
    if entry_path.is_file():
        # Everything may have been moved since.
        entry = pickle.loads(entry_path.read_bytes())
        video = folder.parent / entry.video.relative_to(entry.folder.parent)
        return replace(entry, folder=folder, video=video, path=path)
    episode, facts = _prepare(folder, common)
    meta, labels = episode.recording.meta, episode.labels
    pressed = labels.action.any(axis=0)
    entry = PlanEntry(
        folder=folder,
        video=episode.recording.video,
        key=key,
        digest=digest,
        path=path,
        task=episode.task,
        n_rows=len(labels.timeline),
        fps=labels.fps,
        size_px=common.size_px or facts.size_px,
        session=None if meta.session is None else str(meta.session),
        counts=episode.counts,
        moves=largest_moves(labels) if common.options.mouse == "relative" else None,
        pressed=frozenset(n for n in compress(labels.channels, pressed) if not n.startswith("mouse.")),
        facts=facts,
        rows_are_frames=np.array_equal(labels.timeline.frame_index, np.arange(len(episode.recording.frame_ticks))),
    )
    write_whole(path, lambda part: _dump(episode, part))
    write_whole(entry_path, lambda part: part.write_bytes(pickle.dumps(entry)))
    return entry


def _dump(episode: PreparedEpisode, path: Path) -> None:
    with path.open("wb") as file:
        # To a file, large arrays go without a copy in memory.
        pickle.dump(episode, file, protocol=5)


def _prepare(folder: Path, common: Common) -> tuple[PreparedEpisode, VideoFacts]:
    recording = read_recording(folder, "order" in common.options.repair)
    if "frames" in common.options.repair:
        recording = repair_frame_ticks(recording)
    meta, video = recording.meta, recording.video
    size_px = (meta.canvas_w, meta.canvas_h)
    n_frames = len(recording.frame_ticks)
    task = (meta.task or "").strip() or (common.task or "").strip()
    problems = Problems()
    facts = problems.attempt(lambda: check_video(video, n_frames))
    labels = problems.attempt(lambda: label_recording(recording, common.options, common.key_codes))
    if not task:
        problems.add(f"{file_of(folder, META_FILE)}: no `task`; add the instruction there, or pass --task=TEXT")
    problems.check()
    assert facts is not None and labels is not None
    events = recording.events
    untrimmed = labels.timeline
    stretches: list[Stretch] = []
    is_kept = np.ones(len(untrimmed), dtype=bool)  # (N,)
    if common.find_idle or common.options.idle != "keep":
        try:
            luma = block_luma(video, untrimmed.frame_index)
            stretches = find_idle(labels, events, luma, common.options.idle_s)
        except RecordingError:
            # A video that is only copied need not be sound in every frame.
            if common.options.idle != "keep":
                raise
        is_kept = kept_rows(untrimmed, stretches, common.options.idle)
        labels = labels.take(is_kept)
    space = common.options.action_space(common.key_codes)
    kept = kept_frames(recording.frame_ticks, common.options.keep_duplicates)
    until_ns = int(untrimmed.end_ns[-1]) if "keys" in common.options.repair else None
    event_ledger = account_for_events(events, labels.event_ns, labels.timeline, size_px, space, until_ns)
    kinds = np.bincount(events.kind, minlength=len(events.kinds)).tolist()
    counts = {
        "video_frames": n_frames,
        "rows": len(labels.timeline),
        "duplicates_dropped": n_frames - len(kept),
        **tick_counts(recording.tick_repair),
        "gaps_over_1_s": int(np.count_nonzero(np.diff(recording.frame_ticks) > GAP_NS / NS_PER_S * meta.qpc_freq)),
        "idle_rows": sum(stretch.stop_row - stretch.start_row for stretch in stretches),
        "idle_rows_dropped": len(untrimmed) - len(labels.timeline),
        **event_ledger.counts(),
        **recording.repairs,
    }
    episode = PreparedEpisode(
        recording=recording,
        labels=labels,
        event_ledger=event_ledger,
        frame_ledger=account_for_frames(n_frames, kept, labels.timeline, untrimmed, recording.tick_repair),
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


def encode_episode(entry: PlanEntry, settings: EncoderSettings) -> tuple[Path, VideoFacts]:
    """Encodes the rows of an episode to a video of its own, or finds that this was done before.

    Raises:
        RecordingError: A frame cannot be decoded.
    """
    suffix = hashlib.blake2b(repr(settings).encode(), digest_size=4).hexdigest()
    path = entry.path.with_suffix(f".{suffix}.mp4")
    if not path.is_file():
        episode: PreparedEpisode = pickle.loads(entry.path.read_bytes())
        frames = iterate_frames(entry.video, episode.labels.timeline.frame_index)
        if entry.size_px != entry.facts.size_px:
            frames = (scale(frame, entry.size_px) for frame in frames)
        write_whole(path, lambda part: encode_video(frames, part, entry.fps, settings))
    return path, check_video(path, entry.n_rows)
