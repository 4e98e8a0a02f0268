"""All recorders' files side by side: which are recordings, what belongs to each, and how to read it as one.

A recording is known by its path: the folder it fills, or its log, where a recorder keeps several in a folder.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from recordings_to_lerobot.importers import ducktrack, owamcap, owl, vpt
from recordings_to_lerobot.importers.columns import to_columns
from recordings_to_lerobot.importers.frame_times import FrameTimes, VideoClock, match_times, read_video_clock
from recordings_to_lerobot.importers.neutral import NS_PER_S
from recordings_to_lerobot.recordings import recording as native
from recordings_to_lerobot.recordings.events import Events
from recordings_to_lerobot.recordings.find import (
    EPISODE_FILES,
    FRAME_TICKS_FILE,
    META_FILE,
    in_natural_order,
    is_episode,
    walk_folders,
)
from recordings_to_lerobot.recordings.meta import Meta
from recordings_to_lerobot.recordings.recording import Recording
from recordings_to_lerobot.recordings.validation import RecordingError, explain, require_file

FormatChoice = Literal["auto", "native", "owamcap", "owl", "vpt", "ducktrack"]

_VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".flv", ".webm")


@dataclass(frozen=True)
class _Format:
    """How the recordings of one recorder are found and read."""

    find: Callable[[Path, Set[str]], Iterable[Path]]  # those in a folder, given the names of its files
    files: Callable[[Path], Iterable[Path]]  # all that a recording is made of
    read: Callable[[Path, bool], Recording]  # the flag: put events in order, where that has to be asked for


def find_recordings(input_dir: Path, choice: FormatChoice = "auto") -> list[Path]:
    """All recordings at or below a folder, in natural order; hidden folders are left out.

    Raises:
        RecordingError: There is no such folder, or no recording in it.
    """
    formats = FORMATS.values() if choice == "auto" else [FORMATS[choice]]
    found = {path for folder, files in walk_folders(input_dir) for each in formats for path in each.find(folder, files)}
    if not found:
        kind = "recordings" if choice == "auto" else f"{choice} recordings"
        others = ", ".join(name for name in FORMATS if name != "native")
        raise RecordingError(
            f"{input_dir}: no {kind} found; an episode is a folder with {', '.join(EPISODE_FILES)}, or what another "
            f"recorder wrote ({others}; docs/ has a page for each)"
        )
    return in_natural_order(found)


def is_native(path: Path) -> bool:
    """Whether a recording is of the layout of `docs/recording-format.md`."""
    return _format_of(path) is FORMATS["native"]


def files_of(path: Path) -> list[Path]:
    """All files that a recording is made of; some may be missing."""
    return list(_format_of(path).files(path))


def read_recording(path: Path, sort_events: bool = False) -> Recording:
    """Reads and checks everything of a recording but its pictures.

    Raises:
        RecordingError: With what is wrong with it.
    """
    return _format_of(path).read(path, sort_events)


def _format_of(path: Path) -> _Format:
    if path.suffix == ".mcap" and not path.is_dir():
        return FORMATS["owamcap"]
    if path.suffix == ".jsonl" and not path.is_dir():
        return FORMATS["vpt"]
    files = {file.name for file in path.iterdir()} if path.is_dir() else set()
    return next((FORMATS[name] for name in ("owl", "ducktrack") if any(FORMATS[name].find(path, files))), _NATIVE)


def _find_native(folder: Path, files: Set[str]) -> Iterator[Path]:
    if is_episode(files) and not _is_ducktrack(files):
        yield folder


def _native_files(path: Path) -> Iterator[Path]:
    return (path / name for name in EPISODE_FILES)


def _find_owamcap(folder: Path, files: Set[str]) -> Iterator[Path]:
    return (folder / name for name in files if name.endswith(".mcap"))


def _owamcap_files(path: Path) -> Iterator[Path]:
    yield path
    try:
        first = next(owamcap.read_messages(path, ["screen"]), None)
        if first:
            yield owamcap.video_of(path, [first.message.uri])
    except RecordingError:
        pass  # reading all of it will say what is wrong


def _read_owamcap(path: Path, _: bool) -> Recording:
    require_file(path)
    log = owamcap.read_screens(owamcap.read_messages(path, ["screen", "window"]))
    video = owamcap.video_of(path, log.uris)
    clock = read_video_clock(video)
    try:
        times = match_times(clock, np.array(log.pts_ns, dtype=np.int64), np.array(log.utc_ns, dtype=np.int64))
    except ValueError as error:
        raise RecordingError(f"{path}: {error} {video.name}; re-export the recording") from None
    reader = owamcap.InputReader(owamcap.locate_window(log, clock.size_px))
    has_mouse = next(owamcap.read_messages(path, ["mouse"]), None) is not None
    events = to_columns(reader.events(owamcap.read_messages(path), has_mouse))
    return _recording(path, video, clock, times, events, reader.repairs, {"format": "owamcap"})


def _is_owl(files: Set[str]) -> bool:
    return owl.INPUTS_FILE in files or {owl.VIDEO_FILE, owl.METADATA_FILE} <= files


def _find_owl(folder: Path, files: Set[str]) -> Iterator[Path]:
    if _is_owl(files):
        yield folder


def _owl_files(path: Path) -> Iterator[Path]:
    return (path / name for name in (owl.INPUTS_FILE, owl.VIDEO_FILE, owl.METADATA_FILE))


def _read_owl(path: Path, _: bool) -> Recording:
    inputs = path / owl.INPUTS_FILE
    require_file(inputs)
    clock = read_video_clock(path / owl.VIDEO_FILE)
    metadata = owl.read_metadata(path / owl.METADATA_FILE)
    reader = owl.InputReader()
    events = to_columns(reader.events(owl.read_rows(inputs)))
    if reader.video_start_ns is None:
        raise RecordingError(f"{inputs}: has neither VIDEO_START nor START; re-export the recording")
    times = FrameTimes(reader.video_start_ns + clock.pts_ns - clock.pts_ns[0], Counter())
    about: dict[str, Any] = {"format": "owl", "metadata": metadata}
    session = metadata.get("session_id")
    return _recording(path, path / owl.VIDEO_FILE, clock, times, events, reader.repairs, about, session)


def _find_vpt(folder: Path, files: Set[str]) -> Iterator[Path]:
    logs = (Path(name) for name in files if name.endswith(".jsonl") and name not in EPISODE_FILES)
    return (folder / log for log in logs if f"{log.stem}.mp4" in files)


def _vpt_files(path: Path) -> Iterator[Path]:
    return iter((path, path.with_suffix(".mp4")))


def _read_vpt(path: Path, _: bool) -> Recording:
    require_file(path)
    video = path.with_suffix(".mp4")
    clock = read_video_clock(video)
    reader = vpt.InputReader(clock.size_px[1])
    events = to_columns(reader.events(vpt.read_steps(path)))
    n_frames = len(clock.pts_ns)
    # Behind the last step nothing is known: what repeats the time of the frame before it is left out.
    step = np.minimum(np.arange(n_frames), reader.n_steps - 1)
    repairs = Counter(
        frames_without_time=max(0, n_frames - reader.n_steps), steps_without_frame=max(0, reader.n_steps - n_frames)
    )
    times = FrameTimes(step.astype(np.int64) * vpt.STEP_NS, repairs)
    return _recording(path, video, clock, times, events, reader.repairs, {"format": "vpt"}, fps=vpt.FPS)


def _is_ducktrack(files: Set[str]) -> bool:
    return {ducktrack.EVENTS_FILE, ducktrack.METADATA_FILE} <= files and files.isdisjoint({META_FILE, FRAME_TICKS_FILE})


def _find_ducktrack(folder: Path, files: Set[str]) -> Iterator[Path]:
    if _is_ducktrack(files):
        yield folder


def _ducktrack_files(path: Path) -> Iterator[Path]:
    yield path / ducktrack.EVENTS_FILE
    yield path / ducktrack.METADATA_FILE
    yield from sorted(file for file in path.iterdir() if file.suffix.lower() in _VIDEO_SUFFIXES)


def _read_ducktrack(path: Path, _: bool) -> Recording:
    lines, about, *videos = _ducktrack_files(path)
    if len(videos) != 1:
        found = ", ".join(video.name for video in videos) or "none"
        raise RecordingError(f"{path}: must hold one video, found {found}; re-export the recording")
    clock = read_video_clock(videos[0])
    metadata, content = ducktrack.read_metadata(about)
    times_ns, repairs = ducktrack.video_times(clock.pts_ns, metadata.obs_record_state_timings)
    reader = ducktrack.InputReader((metadata.screen_width, metadata.screen_height), clock.size_px)
    events = to_columns(reader.events(ducktrack.read_lines(lines)))
    kept = {"format": "ducktrack", "metadata": content}
    return _recording(path, videos[0], clock, FrameTimes(times_ns, repairs), events, Counter(), kept)


def _recording(
    path: Path,
    video: Path,
    clock: VideoClock,
    times: FrameTimes,
    events: Events,
    repairs: Counter[str],
    about: dict[str, Any],
    session: str | None = None,
    fps: int | None = None,
) -> Recording:
    """Puts together what an importer has read."""
    width_px, height_px = clock.size_px
    fields = {"fps": float(fps or clock.fps), "canvas_w": width_px, "canvas_h": height_px, "qpc_freq": NS_PER_S}
    if isinstance(session, str):
        fields["session"] = session
    try:
        meta = Meta.model_validate({**fields, "recorder": about})
    except ValidationError as error:
        raise RecordingError(f"{video}: {explain(error)}; re-export the recording") from None
    if not len(events.tick):
        raise RecordingError(f"{path}: holds no event; re-export the recording, or remove it")
    mended = +(times.repairs + repairs)
    return Recording(path, video, meta, times.ns, events, repairs=dict(sorted(mended.items())))


_NATIVE = _Format(_find_native, _native_files, native.read_recording)
FORMATS: dict[str, _Format] = {
    "native": _NATIVE,
    "owamcap": _Format(_find_owamcap, _owamcap_files, _read_owamcap),
    "owl": _Format(_find_owl, _owl_files, _read_owl),
    "vpt": _Format(_find_vpt, _vpt_files, _read_vpt),
    "ducktrack": _Format(_find_ducktrack, _ducktrack_files, _read_ducktrack),
}
