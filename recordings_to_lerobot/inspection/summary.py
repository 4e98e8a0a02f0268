"""What there is to know about one recording, in numbers."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from recordings_to_lerobot.actions.channels import BUTTON_BITS, MOUSE_CHANNELS, SIDE_BUTTON_BITS
from recordings_to_lerobot.actions.vocabulary import KeyCodes
from recordings_to_lerobot.alignment.idle import Stretch, find_idle, kept_rows
from recordings_to_lerobot.alignment.labels import Labels, label_recording
from recordings_to_lerobot.alignment.ledger import account_for_events
from recordings_to_lerobot.alignment.options import IdleMode, LabelOptions
from recordings_to_lerobot.alignment.timeline import NS_PER_MS, NS_PER_S, ticks_to_ns
from recordings_to_lerobot.alignment.track import MousePath, presses
from recordings_to_lerobot.importers.formats import read_recording
from recordings_to_lerobot.inspection.clock_offset import estimate_offset, gather_evidence
from recordings_to_lerobot.inspection.episode import EpisodeSummary, Inspection, Intervals, Offset, Traces, Use
from recordings_to_lerobot.inspection.picture_motion import MotionMeter
from recordings_to_lerobot.recordings.find import key_of
from recordings_to_lerobot.recordings.recording import Recording
from recordings_to_lerobot.recordings.validation import Problems
from recordings_to_lerobot.video.block_luma import block_luma
from recordings_to_lerobot.video.frame_repair import repair_frame_ticks
from recordings_to_lerobot.video.probe import check_video

# Bins in each direction of the map of where the mouse was.
MOUSE_BINS = 48


def inspect_recording(folder: Path, input_dir: Path, options: LabelOptions, key_codes: KeyCodes) -> Inspection:
    """Reads, checks and measures one recording; its video is decoded once.

    Raises:
        RecordingError: With everything that keeps it from being converted.
    """
    recording, labels = read_labelled(folder, options, key_codes)
    meta, events = recording.meta, recording.events
    timeline, size_px = labels.timeline, (meta.canvas_w, meta.canvas_h)
    frame_ns = ticks_to_ns(recording.frame_ticks, meta.qpc_freq)
    _, shown = np.unique(timeline.frame_ns, return_index=True)  # (K,), a row for each moment a picture was taken
    is_shown = np.zeros(len(timeline), dtype=bool)
    is_shown[shown] = True
    meter = MotionMeter()
    luma = _measured(block_luma(recording.video, timeline.frame_index), is_shown, meter)
    stretches = find_idle(labels, events, luma, options.idle_s)
    evidence = gather_evidence(events, labels.event_ns, timeline.frame_ns[shown], meter.motion(), size_px)
    estimate = estimate_offset([evidence])
    idle_s = _seconds(stretches, labels)
    interval_ms = np.diff(np.unique(frame_ns)) / NS_PER_MS
    span_s = int(frame_ns[-1] - frame_ns[0]) / NS_PER_S
    mouse = MousePath.of(events, labels.event_ns, size_px)
    kinds = np.bincount(events.kind, minlength=len(events.kinds)).tolist()
    space = options.action_space(key_codes)
    until_ns = int(timeline.end_ns[-1]) if "keys" in options.repair else None
    ledger = account_for_events(events, labels.event_ns, timeline, size_px, space, until_ns)
    summary = EpisodeSummary(
        source=source_of(folder, input_dir),
        task=(meta.task or "").strip(),
        canvas_px=size_px,
        fps=meta.fps,
        fps_measured=len(interval_ms) / span_s if span_s else 0.0,
        duration_s=int(timeline.end_ns[-1] - timeline.start_ns[0]) / NS_PER_S,
        frames=len(frame_ns),
        duplicate_frames=len(frame_ns) - 1 - len(interval_ms),
        rows=len(timeline),
        rows_kept=int(kept_rows(timeline, stretches, wanted_idle_mode(options)).sum()),
        intervals=_intervals(interval_ms),
        events={kind: count for kind, count in zip(events.kinds, kinds, strict=True) if count},
        findings={name: count for name, count in ledger.counts().items() if count},
        uses=_uses(recording, labels, key_codes),
        mouse_travel=float(mouse.travelled[-1]),
        idle_s=float((idle_s[:, 1] - idle_s[:, 0]).sum()),
        offset=Offset.of(estimate) if estimate else None,
    )
    traces = Traces(
        interval_ms=interval_ms,
        events_per_s=_per_second(labels.event_ns - frame_ns[0], int(summary.duration_s)),
        idle_s=idle_s,
        mouse_map=_mouse_map(mouse, timeline.end_ns),
        evidence=evidence,
    )
    return Inspection(folder, summary, traces)


def _measured(luma: Iterable[np.ndarray], is_shown: np.ndarray, meter: MotionMeter) -> Iterator[np.ndarray]:
    """Passes pictures on, and those that are shown for the first time to the meter, so that none is kept."""
    for picture, is_new in zip(luma, is_shown.tolist(), strict=True):
        if is_new:
            meter.add(picture)
        yield picture


def source_of(folder: Path, input_dir: Path) -> str:
    """Name of a recording: its folder as seen from that of all recordings."""
    return folder.name if folder == input_dir else key_of(folder, input_dir)


def wanted_idle_mode(options: LabelOptions) -> IdleMode:
    """What to count the rows of that stay: keeping all is no news."""
    return "trim" if options.idle == "keep" else options.idle


def read_labelled(folder: Path, options: LabelOptions, key_codes: KeyCodes) -> tuple[Recording, Labels]:
    """Reads and checks a recording without decoding its video.

    Raises:
        RecordingError: With everything that keeps it from being converted, except that it may lack a task.
    """
    recording = read_recording(folder, "order" in options.repair)
    if "frames" in options.repair:
        recording = repair_frame_ticks(recording)
    problems = Problems()
    problems.attempt(lambda: check_video(recording.video, len(recording.frame_ticks)))
    labels = problems.attempt(lambda: label_recording(recording, options, key_codes))
    problems.check()
    assert labels is not None
    return recording, labels


def _intervals(interval_ms: np.ndarray) -> Intervals:
    if not len(interval_ms):
        return Intervals(0.0, 0.0, 0.0, 0.0)
    median, p95 = np.quantile(interval_ms, [0.5, 0.95])
    return Intervals(float(median), float(p95), float(interval_ms.max()), float(interval_ms.std()))


def _uses(recording: Recording, labels: Labels, key_codes: KeyCodes) -> dict[str, Use]:
    """Use of everything that is ever down, most held first."""
    name_of = {("key", code): f"key.{name}" for name, codes in key_codes.items() for code in codes}
    name_of |= {("button", bit): f"button.{name}" for name, bit in (BUTTON_BITS | SIDE_BUTTON_BITS).items()}
    held_share = (labels.action != 0).mean(axis=0)  # (C,)
    n_mouse = len(MOUSE_CHANNELS)
    shares = {name: float(share) for name, share in zip(labels.channels[n_mouse:], held_share[n_mouse:], strict=True)}
    counts = dict.fromkeys((name for name, share in shares.items() if share), 0)
    for (device, code), intervals in presses(recording.events, labels.event_ns).items():
        name = name_of.get((device, code), f"key 0x{code:02X}")
        counts[name] = counts.get(name, 0) + len(intervals)
    uses = {name: Use(count, shares.get(name, 0.0)) for name, count in counts.items()}
    return dict(sorted(uses.items(), key=lambda item: (-item[1].held_share, item[0])))


def _seconds(stretches: list[Stretch], labels: Labels) -> np.ndarray:
    """Stretches as times since the first row begins.  # (I, 2)"""
    timeline = labels.timeline
    first = np.array([stretch.start_row for stretch in stretches], dtype=int)
    last = np.array([stretch.stop_row - 1 for stretch in stretches], dtype=int)
    edges_ns = np.stack([timeline.start_ns[first], timeline.end_ns[last]], axis=1)
    return (edges_ns - timeline.start_ns[0]) / NS_PER_S


def _per_second(time_ns: np.ndarray, n_seconds: int) -> np.ndarray:
    second = time_ns // NS_PER_S
    return np.bincount(second[(second >= 0) & (second < n_seconds)], minlength=n_seconds)


def _mouse_map(mouse: MousePath, time_ns: np.ndarray) -> np.ndarray:
    position = mouse.position[mouse.index_before(time_ns)]  # (N, 2)
    inside = np.clip(position, 0, 1)
    counts, _, _ = np.histogram2d(inside[:, 1], inside[:, 0], bins=MOUSE_BINS, range=((0, 1), (0, 1)))
    return counts.astype(np.int64)
