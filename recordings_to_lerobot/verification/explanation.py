"""What was recorded around a row of a dataset, and how it became the row's state and action.

Everything comes from the dataset itself: its rows, its audit tables and `meta/recordings.jsonl`.
"""

import json
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recordings_to_lerobot.actions.channels import ActionSpace
from recordings_to_lerobot.actions.vocabulary import KEY_CODES
from recordings_to_lerobot.alignment.labels import make_timeline
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.alignment.timeline import Timeline, ticks_to_ns
from recordings_to_lerobot.dataset.audit import read_audit
from recordings_to_lerobot.dataset.names import EVENTS_FOLDER, FRAME_INDEX, FRAMES_FOLDER, INFO_FILE
from recordings_to_lerobot.dataset.records import read_records
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.verification.derivation import Derivation, DroppedFrames, ExplainedRow, Explanation, RawEvent

Feature = Literal["observation.state", "action"]


def explain_row(root: Path, episode: int, frame: int, around: int) -> Explanation:
    """Explains a row of the dataset at `root` and shows `around` more on each side.

    Raises:
        RecordingError: The dataset has no such row, or keeps too little to explain it.
    """
    records = read_records(root)
    if not 0 <= episode < len(records):
        raise RecordingError(f"--episode={episode}: {root} has episodes 0 to {len(records) - 1}")
    if around < 0:
        raise RecordingError(f"--around={around}: give 0 or more rows")
    for folder in (EVENTS_FOLDER, FRAMES_FOLDER):
        if not any((root / folder).glob("*.parquet")):
            raise RecordingError(f"{root / folder}: missing; convert the recordings again to have every event kept")
    record = records[episode]
    info = json.loads((root / INFO_FILE).read_text(encoding="utf-8"))
    columns = [FRAME_INDEX, "observation.state", "action"]
    data = pq.read_table(root / "data", columns=columns, filters=[("episode_index", "=", episode)])
    n_rows = len(data)
    if not 0 <= frame < n_rows:
        raise RecordingError(f"--frame={frame}: episode {episode} of {root} has frames 0 to {n_rows - 1}")
    source_frames = data[FRAME_INDEX].to_numpy()
    frames = read_audit(root, FRAMES_FOLDER, episode)
    all_rows = _rows_before_trimming(record, frames)
    dropped = [row for start, stop in record["dropped_rows"] for row in range(start, stop)]
    kept = np.setdiff1d(np.arange(len(all_rows)), dropped)  # (N,)
    events = _read_events(root, episode, record)
    channels = tuple(info["features"]["action"]["names"])
    options = record["options"]
    space = ActionSpace(options["mouse"], options["keys"] or KEY_CODES, options["extra_channels"])
    size_px = (record["meta"]["canvas_w"], record["meta"]["canvas_h"])

    frame_notes = frames["note"].to_pylist()
    shown_frames = [*source_frames.tolist(), len(frame_notes)]
    window = range(max(0, frame - around), min(n_rows, frame + around + 1))
    rows = [
        ExplainedRow(
            frame=row,
            source_frame=shown_frames[row],
            captured_ns=int(all_rows.frame_ns[kept[row]]),
            start_ns=int(all_rows.start_ns[kept[row]]),
            end_ns=int(all_rows.end_ns[kept[row]]),
            state=_vector(data["observation.state"][row]),
            action=_vector(data["action"][row]),
            events=[event for event in events if event.row == row],
            dropped_after=_dropped(frame_notes, *shown_frames[row : row + 2]),
        )
        for row in window
    ]
    wanted = rows[window.index(frame)]
    before = kept[frame] - 1
    before_ns = (int(all_rows.start_ns[before]), int(all_rows.end_ns[before])) if kept[frame] else None
    derivation = Derivation(events, space, options["mouse_scale"], size_px, int(all_rows.start_ns[0]))
    return Explanation(
        source=record["source"],
        task=record["task"],
        channels=channels,
        key_of_code={code: name for name, codes in space.key_codes.items() for code in codes},
        mouse_scale=options["mouse_scale"],
        size_px=size_px,
        origin_ns=int(all_rows.start_ns[0]),
        frame=frame,
        rows=rows,
        reasons=derivation.reasons(wanted, channels, before_ns),
    )


def _rows_before_trimming(record: dict, frames: pa.Table) -> Timeline:
    """The rows the episode had before idle stretches were taken out."""
    meta, options = record["meta"], LabelOptions.recorded(record["options"])
    return make_timeline(frames["tick"].to_numpy(), meta["qpc_freq"], meta["fps"], options)


def _read_events(root: Path, episode: int, record: dict) -> list[RawEvent]:
    table = read_audit(root, EVENTS_FOLDER, episode)
    offset_ms = record["options"]["offset_ms"]
    if offset_ms is None:
        offset_ms = record["meta"].get("offset_ms", 0)
    # Not from time_ms, a float: an event exactly on a border must stay on its side of it.
    times_ns = ticks_to_ns(table["tick"].to_numpy(), record["meta"]["qpc_freq"], offset_ms)
    names = ["line", "kind", "x_px", "y_px", "dx", "dy", "buttons", "vk", "row", "note"]
    columns = [table[name].to_pylist() for name in ("used", *names)]
    return [
        RawEvent(ns=ns, is_used=values[0], **dict(zip(names, values[1:], strict=True)))
        for ns, *values in zip(times_ns.tolist(), *columns, strict=True)
    ]


def _vector(value: pa.Scalar) -> np.ndarray:
    return np.array(value.as_py(), dtype=np.float32)


def _dropped(notes: list[str], after: int, before: int) -> list[DroppedFrames]:
    """Source frames strictly between two, in runs that were dropped for the same reason."""
    runs = [(note, list(run)) for note, run in groupby(range(after + 1, before), key=notes.__getitem__)]
    return [DroppedFrames(run[0], run[-1], note) for note, run in runs]
