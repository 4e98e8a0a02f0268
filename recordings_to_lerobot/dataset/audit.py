"""The audit tables of a dataset: every raw event and every source frame of every episode."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recordings_to_lerobot.alignment.ledger import NO_ROW
from recordings_to_lerobot.alignment.timeline import NS_PER_MS, ticks_to_ns
from recordings_to_lerobot.dataset.episode import PreparedEpisode
from recordings_to_lerobot.dataset.names import EVENTS_FOLDER, FRAMES_FOLDER
from recordings_to_lerobot.recordings.events import ABSENT

# As LeRobot's files of rows.
_MAX_FILE_BYTES = 100 * 1024 * 1024
_ROWS_AT_A_TIME = 100_000

EVENT_SCHEMA = pa.schema(
    {
        "episode_index": pa.int64(),
        "line": pa.int64(),  # in events.jsonl
        "tick": pa.int64(),
        "time_ms": pa.float64(),  # on the clock of the frames, with offset_ms
        "kind": pa.string(),
        "x_px": pa.float64(),
        "y_px": pa.float64(),
        "dx": pa.float64(),
        "dy": pa.float64(),
        "buttons": pa.int64(),
        "vk": pa.int64(),
        "row": pa.int64(),  # frame_index of the row in whose interval it lies, null outside of all
        "used": pa.bool_(),  # whether it labels that row
        "note": pa.string(),
        "raw": pa.string(),  # the line itself if its kind is unknown
    }
)
FRAME_SCHEMA = pa.schema(
    {
        "episode_index": pa.int64(),
        "source_frame": pa.int64(),
        "tick": pa.int64(),
        "time_ms": pa.float64(),
        "first_row": pa.int64(),  # null if no row shows it
        "n_rows": pa.int64(),
        "note": pa.string(),
    }
)


class AuditWriter:
    """Context manager that appends to the audit tables of the dataset at `root`.

    Each episode begins a row group; long ones have several, so that only a block of rows is in memory.
    """

    def __init__(self, root: Path):
        self._folders = {root / EVENTS_FOLDER: EVENT_SCHEMA, root / FRAMES_FOLDER: FRAME_SCHEMA}

    def __enter__(self) -> Self:
        self._writers = [self._begin_file(folder) for folder in self._folders]
        return self

    def _begin_file(self, folder: Path) -> pq.ParquetWriter:
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*.parquet")))
        return pq.ParquetWriter(folder / f"file-{number:03d}.parquet", self._folders[folder])

    def _leave_full_files(self) -> None:
        for i, writer in enumerate(self._writers):
            path = Path(writer.where)
            if path.stat().st_size >= _MAX_FILE_BYTES:
                writer.close()
                self._writers[i] = self._begin_file(path.parent)

    def write(self, episode_index: int, episode: PreparedEpisode) -> None:
        """Appends one episode."""
        self._leave_full_files()
        recording = episode.recording
        parts = ((_event_columns, len(recording.events.tick)), (_frame_columns, len(recording.frame_ticks)))
        for writer, (columns_of, n) in zip(self._writers, parts, strict=True):
            for start in range(0, n, _ROWS_AT_A_TIME):
                rows = slice(start, min(start + _ROWS_AT_A_TIME, n))
                index = np.full(rows.stop - rows.start, episode_index)
                columns = {"episode_index": index, **columns_of(episode, rows)}
                writer.write_table(pa.table(columns, schema=writer.schema))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as stack:
            for writer in self._writers:
                stack.callback(close_table, writer)


def close_table(writer: pq.ParquetWriter) -> None:
    """Closes a table that may not fit the disk."""
    try:
        writer.close()
    finally:
        # Else it would try again when it is forgotten, where its error is printed and not raised.
        writer.is_open = False


def read_audit(root: Path, folder: str, episode_index: int) -> pa.Table:
    """The rows of one episode in one of the audit tables."""
    return pq.read_table(root / folder, filters=[("episode_index", "=", episode_index)])


def _event_columns(episode: PreparedEpisode, rows: slice) -> dict[str, object]:
    events, ledger = episode.recording.events, episode.event_ledger
    kinds = np.array(events.kinds, dtype=object)
    return {
        "line": events.line[rows],
        "tick": events.tick[rows],
        "time_ms": episode.labels.event_ns[rows] / NS_PER_MS,
        "kind": kinds[events.kind[rows]],
        "x_px": pa.array(events.x_px[rows], from_pandas=True),  # NaN → null
        "y_px": pa.array(events.y_px[rows], from_pandas=True),
        "dx": pa.array(events.dx[rows], from_pandas=True),
        "dy": pa.array(events.dy[rows], from_pandas=True),
        "buttons": _or_null(events.buttons[rows], ABSENT),
        "vk": _or_null(events.vk[rows], ABSENT),
        "row": _or_null(ledger.row[rows], NO_ROW),
        "used": ledger.is_used[rows],
        "note": ledger.notes(rows),
        "raw": pa.array([events.unknown.get(line) for line in events.line[rows].tolist()], type=pa.string()),
    }


def _frame_columns(episode: PreparedEpisode, rows: slice) -> dict[str, object]:
    recording, ledger = episode.recording, episode.frame_ledger
    ticks = recording.frame_ticks[rows]
    return {
        "source_frame": np.arange(rows.start, rows.stop),
        "tick": ticks,
        "time_ms": ticks_to_ns(ticks, recording.meta.qpc_freq) / NS_PER_MS,
        "first_row": _or_null(ledger.first_row[rows], NO_ROW),
        "n_rows": ledger.n_rows[rows],
        "note": ledger.note[rows],
    }


def _or_null(values: np.ndarray, missing: int) -> pa.Array:
    return pa.array(values, mask=values == missing)
