"""Reads a finished dataset through LeRobot and compares all of it with its recordings."""

import functools
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from recordings_to_lerobot.dataset.names import EVENTS_FOLDER, FRAMES_FOLDER, QUARANTINE_FILE, SCREEN
from recordings_to_lerobot.dataset.records import read_json_lines, read_records
from recordings_to_lerobot.importers.formats import FormatChoice, find_recordings
from recordings_to_lerobot.recordings.find import key_of
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.verification.episode import verify_episode
from recordings_to_lerobot.verification.evidence import NOTHING
from recordings_to_lerobot.verification.findings import Findings
from recordings_to_lerobot.verification.stored import StoredEpisode
from recordings_to_lerobot.workers import run_in_processes

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

FEATURES = ("action", "observation.state")
# Rows also read by plain `dataset[i]`, one in each of so many episodes.
_N_SAMPLES = 32
# Episodes whose numbers are in memory at a time.
_BATCH = 64
_ROWS_AT_A_TIME = 100_000


def verify(
    folder: Path,
    root: Path,
    episodes: int | None = None,
    min_psnr_db: float = 30.0,
    workers: int | None = None,
    format_: FormatChoice = "auto",
) -> Findings:
    """Compares the dataset at `root`, or some `episodes` spread evenly over it, with the recordings in a folder.

    The pictures of an encoded episode must reach a PSNR of `min_psnr_db` over all of them.

    Raises:
        RecordingError: There are no recordings, or no dataset of this converter.
    """
    if episodes is not None and episodes < 1:
        raise RecordingError(f"--episodes={episodes}: nothing to verify; give a positive number")
    records = read_records(root)
    sources = {key_of(episode, folder) for episode in find_recordings(folder, format_)}
    dataset = _open(root)
    findings = Findings()
    _check_sources(findings, sources, records, root)
    _check_layout(findings, dataset)
    _check_statistics(findings, dataset)
    chosen = np.linspace(0, len(records) - 1, min(episodes or len(records), len(records)))
    chosen = chosen.round().astype(int).tolist()
    sampled = chosen[:: -(-len(chosen) // _N_SAMPLES)]
    work = functools.partial(verify_episode, min_psnr_db=min_psnr_db)
    lengths = dataset.meta.episodes["length"]
    with tqdm(total=sum(lengths[episode] for episode in chosen), unit="row", leave=False) as progress:
        for batch in itertools.batched(chosen, _BATCH):
            results = {}
            stored = _read_stored(dataset, records, batch, folder, sampled)
            for episode, result in run_in_processes(work, stored, workers):
                results[episode.index] = result
                progress.update(len(episode.columns["index"]))
            for episode in stored:
                result = results[episode.index]
                if isinstance(result, RecordingError):
                    source = episode.record["source"]
                    findings.fail("recordings unchanged", f"episode {episode.index} ({source}): {result}")
                    continue
                findings.add(result[0])
                if episode.index in sampled and result[1]:
                    _check_item(findings, dataset, episode, result[1])
    return findings


def _open(root: Path) -> "LeRobotDataset":
    # LeRobot would look on the Hub for what is missing here.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    for folder in (EVENTS_FOLDER, FRAMES_FOLDER):
        if not (root / folder).is_dir():
            raise RecordingError(f"{root}: holds no {folder}; give the dataset as it was converted")
    try:
        return LeRobotDataset(f"local/{root.absolute().name}", root=root, video_backend="pyav")
    except Exception as error:  # whatever LeRobot comes across in a damaged dataset
        problem = " ".join(str(error).split())
        raise RecordingError(f"{root}: LeRobot cannot read it ({problem}); convert the recordings again") from None


def _check_sources(findings: Findings, sources: set[str], records: Sequence[dict], root: Path) -> None:
    """Every recording must be in the dataset, or among those that were left out."""
    check = "recordings accounted for"
    left_out = {entry["source"] for entry in read_json_lines(root / QUARANTINE_FILE)}
    converted = Counter(record["source"] for record in records)
    for source in sorted(sources):
        problem = f"{source}: is neither in the dataset nor in {QUARANTINE_FILE}; convert again to add it"
        findings.expect(check, source in converted or source in left_out, problem)


def _check_layout(findings: Findings, dataset: "LeRobotDataset") -> None:
    """Where episodes begin and end, and the splits."""
    meta = dataset.meta
    n_episodes, episodes = meta.total_episodes, range(meta.total_episodes)
    column = {name: np.array(meta.episodes[name]) for name in meta.episodes.column_names if "tasks" not in name}
    ends = np.cumsum(column["length"])
    got = {
        "dataset_from_index": column["dataset_from_index"],
        "dataset_to_index": column["dataset_to_index"],
        "seconds of video": (column[f"videos/{SCREEN}/to_timestamp"] - column[f"videos/{SCREEN}/from_timestamp"]).round(
            6
        ),
    }
    expected = {
        "dataset_from_index": ends - column["length"],
        "dataset_to_index": ends,
        "seconds of video": (column["length"] / meta.fps).round(6),
    }
    findings.compare("places of episodes", "episode", episodes, got, expected)
    n_rows = len(dataset.hf_dataset)
    findings.expect("places of episodes", n_rows == ends[-1], f"the dataset has {n_rows} rows, expected {ends[-1]}")
    times = np.zeros(n_episodes, dtype=int)
    for place in meta.info.splits.values():
        start, stop = (int(number) for number in place.split(":"))
        times[start:stop] += 1
    findings.compare("splits", "episode", episodes, {"splits": times}, {"splits": np.ones(n_episodes, dtype=int)})


def _check_statistics(findings: Findings, dataset: "LeRobotDataset") -> None:
    """Those that LeRobot normalises state and action with must be those of the data."""
    table = dataset.hf_dataset.with_format("arrow")
    for feature in FEATURES:
        blocks = (table[start : start + _ROWS_AT_A_TIME][feature] for start in range(0, len(table), _ROWS_AT_A_TIME))
        lowest, highest = [], []
        for block in blocks:
            values = _vectors(block)
            lowest.append(values.min(axis=0))
            highest.append(values.max(axis=0))
        expected = {f"min of {feature}": np.min(lowest, axis=0), f"max of {feature}": np.max(highest, axis=0)}
        stats = dataset.meta.stats[feature]
        got = {name: stats[name[:3]].astype(np.float32) for name in expected}
        findings.compare("statistics", "channel", dataset.meta.features[feature]["names"], got, expected)


def _read_stored(
    dataset: "LeRobotDataset", records: Sequence[dict], episodes: Sequence[int], folder: Path, sampled: Sequence[int]
) -> list[StoredEpisode]:
    meta = dataset.meta
    table = dataset.hf_dataset.with_format("arrow")
    task_of = {index: task for task, index in meta.tasks["task_index"].items()}
    audit = {
        name: pq.read_table(meta.root / name, filters=[("episode_index", "in", episodes)])
        for name in (EVENTS_FOLDER, FRAMES_FOLDER)
    }
    height_px, width_px, _ = meta.features[SCREEN]["shape"]
    size_px = (width_px, height_px)
    stored = []
    for index in episodes:
        episode = meta.episodes[index]
        rows = table[episode["dataset_from_index"] : episode["dataset_to_index"]]
        columns = {
            name: _vectors(rows[name]) if name in FEATURES else rows[name].to_numpy() for name in rows.column_names
        }
        columns["task"] = np.array([task_of.get(task) for task in columns["task_index"].tolist()])
        share = sampled.index(index) / max(1, len(sampled) - 1) if index in sampled else 0
        stored.append(
            StoredEpisode(
                index=index,
                record=records[index],
                folder=folder / records[index]["source"],
                fps=meta.fps,
                size_px=size_px if records[index]["options"]["size"] else None,
                first_index=episode["dataset_from_index"],
                channels={feature: meta.features[feature]["names"] for feature in FEATURES},
                columns=columns,
                audit={name: _columns(part.filter(pc.field("episode_index") == index)) for name, part in audit.items()},
                video=meta.root / meta.get_video_file_path(index, SCREEN),
                from_s=episode[f"videos/{SCREEN}/from_timestamp"],
                sample_row=round(share * (episode["length"] - 1)),
            )
        )
    return stored


def _columns(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns of a table, with NOTHING or NaN for null."""
    return {
        name: (column.fill_null(NOTHING) if pa.types.is_integer(column.type) else column).to_numpy()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _vectors(column: pa.ChunkedArray) -> np.ndarray:
    """A column of vectors.  # (N, C)"""
    return column.combine_chunks().flatten().to_numpy().reshape(len(column), -1)


def _check_item(findings: Findings, dataset: "LeRobotDataset", stored: StoredEpisode, picture: str) -> None:
    """The sample row must be the same as plain access gives it, which is what training does."""
    check, row = "rows read one by one", stored.sample_row
    index = stored.first_index + row
    try:
        item = dataset[index]
    except (ValueError, OSError) as error:
        findings.fail(check, f"dataset[{index}] cannot be read: {' '.join(str(error).split())}")
        return
    pixels = (item[SCREEN] * 255).round().byte().permute(1, 2, 0).numpy()  # (H, W, 3)
    got = {"picture": hashlib.blake2b(pixels.tobytes()).hexdigest(), "task": item["task"]}
    expected = {"picture": picture, "task": stored.columns["task"][row]}
    for name in ("timestamp", "frame_index", "episode_index", "index", *FEATURES):
        got[name], expected[name] = item[name].numpy().tolist(), stored.columns[name][row].tolist()
    wrong = [f"{name} is {got[name]}, expected {value}" for name, value in expected.items() if got[name] != value]
    findings.expect(check, not wrong, f"dataset[{index}]: {'; '.join(wrong)}")
