"""Compares an episode of a finished dataset with the recording it was made from.

The work of the conversion is not looked at: rows and labels are computed again from the recording, and what can be
said of them besides comes from `evidence.py`, which shares no labelling code with the converter.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recordings_to_lerobot.actions.channels import WHEEL_CHANNELS
from recordings_to_lerobot.actions.encoding import denormalize_px
from recordings_to_lerobot.actions.vocabulary import KEY_CODES, KeyCodes
from recordings_to_lerobot.alignment.labels import Labels, label_recording
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.alignment.relative import scaled
from recordings_to_lerobot.alignment.timeline import NS_PER_MS, ticks_to_ns
from recordings_to_lerobot.dataset.names import EVENTS_FOLDER, FRAME_INDEX, FRAMES_FOLDER, TIMESTAMP_MS
from recordings_to_lerobot.importers.formats import files_of, is_native, read_recording
from recordings_to_lerobot.recordings.files import digest_of
from recordings_to_lerobot.recordings.find import EVENTS_FILE
from recordings_to_lerobot.recordings.recording import Recording
from recordings_to_lerobot.verification.evidence import (
    NOTHING,
    RawEvents,
    follow_presses,
    imported_events,
    read_raw_events,
    rows_around,
    rows_touched,
)
from recordings_to_lerobot.verification.findings import Findings
from recordings_to_lerobot.verification.pictures import check_pictures
from recordings_to_lerobot.verification.stored import StoredEpisode
from recordings_to_lerobot.video.frame_repair import repair_frame_ticks


@dataclass(frozen=True)
class _Expected:
    """An episode as it must be, N rows."""

    options: LabelOptions
    recording: Recording
    labels: Labels
    events: RawEvents
    presses: dict[str, np.ndarray]  # (M, 2) int64
    is_used: np.ndarray  # (E,) bool


def verify_episode(stored: StoredEpisode, min_psnr_db: float) -> tuple[Findings, str]:
    """Compares an episode with its recording; returns also a digest of the picture of the sample row.

    Raises:
        RecordingError: The recording cannot be read, although it is unchanged.
    """
    findings = Findings(f"episode {stored.index} ({stored.record['source']}): ")
    check = "recordings unchanged"
    if not stored.folder.exists():
        findings.fail(check, f"{stored.folder} is gone")
        return findings, ""
    digest = digest_of(files_of(stored.folder))
    if digest != stored.record["identity"]:
        findings.fail(check, f"{stored.folder} has digest {digest}, expected {stored.record['identity']}")
        return findings, ""
    findings.passed[check] += 1
    expected = _recompute(findings, stored)
    n_rows, wanted = len(stored.columns["index"]), len(expected.labels.timeline)
    if n_rows != wanted:
        findings.fail("rows", f"has {n_rows} rows, expected {wanted}")
        return findings, ""
    _check_rows(findings, stored, expected)
    _check_labels(findings, stored, expected)
    _check_audit(findings, stored, expected)
    frame_index, keep_duplicates = expected.labels.timeline.frame_index.tolist(), expected.options.keep_duplicates
    return findings, check_pictures(findings, stored, expected.recording, frame_index, keep_duplicates, min_psnr_db)


def _recompute(findings: Findings, stored: StoredEpisode) -> _Expected:
    recorded = stored.record["options"]
    options = LabelOptions.recorded(recorded)
    key_codes: KeyCodes = {name: tuple(codes) for name, codes in (recorded["keys"] or KEY_CODES).items()}
    recording = read_recording(stored.folder, "order" in options.repair)
    if "frames" in options.repair:
        recording = repair_frame_ticks(recording)
    meta, labels = recording.meta, label_recording(recording, options, key_codes)
    if options.mouse_scale is not None:
        labels = scaled(labels, options.mouse_scale)
    offset_ms = meta.offset_ms if options.offset_ms is None else options.offset_ms
    if is_native(stored.folder):
        events = read_raw_events(stored.folder / EVENTS_FILE, meta.qpc_freq, offset_ms)
    else:
        # What the importer reads, its tests compare with the recorder's own files.
        events = imported_events(recording.events, meta.qpc_freq, offset_ms)
    until_ns = int(labels.timeline.end_ns[-1]) if "keys" in options.repair else None
    presses, is_used = follow_presses(events, options.action_space(key_codes), until_ns)
    if options.idle != "keep":
        row_of_event = rows_around(events.time_ns, labels.timeline)  # (E,)
        is_busy = np.isin(np.arange(len(labels.timeline)), row_of_event[is_used])
        rows = _rows_kept(labels, is_busy, stored.columns)
        for row in np.setdiff1d(np.flatnonzero(is_busy), rows).tolist():
            findings.fail("rows", f"the row of frame {labels.timeline.frame_index[row]} has input, but was dropped")
        labels = labels.take(rows)
    return _Expected(options, recording, labels, events, presses, is_used)


def _rows_kept(labels: Labels, is_busy: np.ndarray, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which rows a dataset without idle ones has, judged by the frames it shows.  # (N,) int64

    A resampled grid has several rows of a frame. Of those all with input stay, and of the others those whose labels
    are there.
    """
    kept: list[int] = []
    frame_index = labels.timeline.frame_index
    for frame in np.unique(frame_index).tolist():
        start, stop = np.searchsorted(frame_index, [frame, frame + 1]).tolist()
        next_row, end = np.searchsorted(columns[FRAME_INDEX], [frame, frame + 1]).tolist()
        for row in range(start, stop):
            missing = end - next_row
            is_needed = is_busy[row] or missing == stop - row
            is_spare = missing > np.count_nonzero(is_busy[row:stop]) and _has_labels(labels, row, columns, next_row)
            if missing and (is_needed or is_spare):
                kept.append(row)
                next_row += 1
    return np.array(kept, dtype=np.int64)


def _has_labels(labels: Labels, row: int, columns: Mapping[str, np.ndarray], stored_row: int) -> bool:
    pairs = ((labels.action, "action"), (labels.state, "observation.state"))
    return all(np.array_equal(values[row], columns[name][stored_row]) for values, name in pairs)


def _check_rows(findings: Findings, stored: StoredEpisode, expected: _Expected) -> None:
    timeline, meta = expected.labels.timeline, expected.recording.meta
    n_rows = len(timeline)
    row = np.arange(n_rows)
    wanted = expected.labels.fps
    findings.expect("rows", stored.fps == wanted, f"has {stored.fps} rows a second, expected {wanted}")
    columns = {
        "timestamp": (row / stored.fps).astype(np.float32),
        "frame_index": row,
        "episode_index": np.full(n_rows, stored.index),
        "index": row + stored.first_index,
        FRAME_INDEX: timeline.frame_index,
        TIMESTAMP_MS: timeline.frame_ns / NS_PER_MS,
        "task": np.full(n_rows, (meta.task or "").strip() or stored.record["task"]),
    }
    findings.compare("rows", "row", row, stored.columns, columns)
    recorded = stored.record["counts"]
    got = {"video_frames": recorded["video_frames"], "rows": recorded["rows"], **recorded["by_kind"]}
    by_kind = Counter(expected.events.kind.tolist())
    counts = {"video_frames": len(expected.recording.frame_ticks), "rows": n_rows, **by_kind}
    for name in sorted({*got, *counts}):
        found, wanted = got.get(name, 0), counts.get(name, 0)
        findings.expect("counts", found == wanted, f"counts {found} of {name}, expected {wanted}")


def _check_labels(findings: Findings, stored: StoredEpisode, expected: _Expected) -> None:
    labels, timeline = expected.labels, expected.labels.timeline
    rows = range(len(timeline))
    got_pressed, pressed = {}, {}
    for feature, values, until_ns in (
        ("action", labels.action, timeline.end_ns),
        ("observation.state", labels.state, timeline.start_ns),
    ):
        found = stored.channels[feature]
        if found != list(labels.channels):
            findings.fail(feature, f"channels are {found}, expected {list(labels.channels)}")
            return
        got = dict(zip(found, stored.columns[feature].T, strict=True))
        findings.compare(feature, "row", rows, got, dict(zip(found, values.T, strict=True)))
        for channel, spans_ns in expected.presses.items():
            got_pressed[f"{channel} in {feature}"] = got[channel]
            touched = rows_touched(spans_ns, timeline.start_ns, until_ns)
            pressed[f"{channel} in {feature}"] = touched.astype(np.float32)
    findings.compare("presses, from raw events", "row", rows, got_pressed, pressed)
    if expected.options.mouse == "relative":
        _check_motion(findings, "mousedelta", stored.columns["action"][:, :2], expected, expected.options.mouse_scale)
    elif not (expected.options.mouse == "delta" and "gaps" in expected.options.repair):  # gaps swallow movements
        _check_mouse_path(findings, stored.columns["action"], expected)
    if "wheel" in expected.options.extra_channels:
        columns = [labels.channels.index(channel) for channel in WHEEL_CHANNELS]
        _check_motion(findings, "wheel", stored.columns["action"][:, columns], expected)


def _check_motion(
    findings: Findings, kind: str, action: np.ndarray, expected: _Expected, scale: float | None = None
) -> None:
    """Actions (N, 2) must be the sums of the motions of a kind, or, with a scale, these divided and clipped."""
    wanted = expected.events.motion(kind, expected.labels.timeline).astype(np.float32)
    if scale is not None:
        wanted = np.clip(wanted.astype(np.float64) / scale, -1, 1).astype(np.float32)
    got, sums = ({"dx": values[:, 0], "dy": values[:, 1]} for values in (action, wanted))
    findings.compare(f"{kind}, from raw events", "row", range(len(wanted)), got, sums)


def _check_mouse_path(findings: Findings, action: np.ndarray, expected: _Expected) -> None:
    """The actions (N, C) must lead the mouse to where it is at the end."""
    check = "mouse path, from raw events"
    timeline, meta = expected.labels.timeline, expected.recording.meta
    size_px = (meta.canvas_w, meta.canvas_h)
    first_px = expected.events.mouse_before(timeline.start_ns[0], size_px)
    last_px = expected.events.mouse_before(timeline.end_ns[-1], size_px)
    for axis, channel in enumerate(expected.labels.channels[:2]):
        moves = action[:, axis].astype(np.float64)  # (N,)
        if expected.options.mouse == "delta":
            found_px, wanted_px = first_px[axis] + moves.sum() * (size_px[axis] - 1), last_px[axis]
        else:
            found_px = denormalize_px(moves[-1], size_px[axis])
            wanted_px = np.clip(last_px[axis], 0, size_px[axis] - 1)
        error_px = abs(found_px - wanted_px)
        # float32 rounds every row by up to half of its last place.
        allowed_px = 2.0**-24 * (np.abs(moves).sum() + 1) * size_px[axis]
        findings.note_worst(check, error_px, f"off by {error_px:.1g} px")
        findings.expect(
            check, error_px <= allowed_px, f"{channel} leads to {found_px:.4f} px, expected {wanted_px:.4f} px"
        )


def _check_audit(findings: Findings, stored: StoredEpisode, expected: _Expected) -> None:
    events, timeline = expected.events, expected.labels.timeline
    row = rows_around(events.time_ns, timeline)  # (E,)
    wanted = {
        "line": _one_each(events.line),
        "tick": events.tick,
        "time_ms": events.time_ns / NS_PER_MS,
        "kind": events.kind,
        "x_px": events.x_px,
        "y_px": events.y_px,
        "dx": events.dx,
        "dy": events.dy,
        "buttons": events.buttons,
        "vk": events.vk,
        "row": row,
        "raw": events.raw,
        "used": expected.is_used & (row != NOTHING),
        "used or noted": np.full(len(row), True),
    }
    got = dict(stored.audit[EVENTS_FOLDER])
    got["line"] = _one_each(got["line"])
    got["used or noted"] = got["used"] | (got["note"] != "")
    findings.compare_once("events in the audit", "line", got, wanted)

    ticks, n_frames = expected.recording.frame_ticks, len(expected.recording.frame_ticks)
    shown, first, times = np.unique(timeline.frame_index, return_index=True, return_counts=True)
    first_row, n_rows = np.full(n_frames, NOTHING), np.zeros(n_frames, dtype=np.int64)
    first_row[shown], n_rows[shown] = first, times
    wanted = {
        "source_frame": np.arange(n_frames),
        "tick": ticks,
        "time_ms": ticks_to_ns(ticks, expected.recording.meta.qpc_freq) / NS_PER_MS,
        "first_row": first_row,
        "n_rows": n_rows,
        "shown or noted": np.full(n_frames, True),
    }
    got = dict(stored.audit[FRAMES_FOLDER])
    got["shown or noted"] = (got["n_rows"] > 0) | (got["note"] != "")
    findings.compare_once("frames in the audit", "frame", got, wanted)


def _one_each(line: np.ndarray) -> np.ndarray:
    """Lines (E,) told apart by an appended .001, .002 … where another recorder's line tells of several events."""
    order = np.argsort(line, kind="stable")
    ordered = line[order]
    first = np.searchsorted(ordered, ordered, side="left")
    if not np.any(repeats := np.arange(len(line)) - first):
        return line
    apart = np.empty(len(line))
    apart[order] = ordered + repeats / 1000
    return apart
