"""Joins datasets that were converted apart to one, of which every row can still be verified and explained.

Importing this module imports LeRobot and torch, which takes seconds.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from lerobot.datasets.aggregate import aggregate_datasets
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.io_utils import write_info

from recordings_to_lerobot.dataset.card import write_card
from recordings_to_lerobot.dataset.existing import is_left_out, video_format
from recordings_to_lerobot.dataset.names import (
    EVENTS_FOLDER,
    FRAMES_FOLDER,
    INFO_FILE,
    QUARANTINE_FILE,
    RECORDINGS_FILE,
)
from recordings_to_lerobot.dataset.records import read_json_lines, read_records, write_json_lines
from recordings_to_lerobot.recordings.validation import RecordingError


def merge_datasets(roots: Sequence[Path], folders: Sequence[str], repo_id: str, target: Path) -> int:
    """Writes to `target` the episodes of all datasets, in their order; returns how many there are.

    The recordings of each dataset lie in one of `folders`, as seen from the folder of all recordings.

    Raises:
        RecordingError: They do not fit together, or hold a recording twice.
    """
    all_places = list(zip(roots, folders, strict=True))
    places = [(root, folder) for root, folder in all_places if not is_left_out(root)]
    if not places:
        raise RecordingError(f"none of the datasets has an episode; each says why in its {QUARANTINE_FILE}")
    roots = [root for root, _ in places]
    records = [_moved(read_records(root), folder) for root, folder in places]
    infos = [json.loads((root / INFO_FILE).read_text(encoding="utf-8")) for root in roots]
    _check_agreement(roots, records, infos)
    splits = _joined_splits(roots, infos)
    try:
        # Files stay as they are: joined, they would be read again and again, and could outgrow what LeRobot reads.
        aggregate_datasets(
            [f"local/{root.absolute().name}" for root in roots],
            repo_id,
            roots=list(roots),
            aggr_root=target,
            concatenate_videos=False,
            concatenate_data=False,
        )
    except ValueError as error:
        raise RecordingError(f"LeRobot cannot merge: {' '.join(str(error).split())[:300]}") from None
    merged: list[dict] = []
    for root, part in zip(roots, records, strict=True):
        for folder in (EVENTS_FOLDER, FRAMES_FOLDER):
            _append_audit(root / folder, target / folder, first_episode=len(merged))
        merged += [{**record, "episode_index": index} for index, record in enumerate(part, start=len(merged))]
    write_json_lines(target / RECORDINGS_FILE, merged)
    converted = {record["source"] for record in merged}
    left_out = [
        entry
        for root, folder in all_places
        for entry in _moved(read_json_lines(root / QUARANTINE_FILE), folder)
        if entry["source"] not in converted
    ]
    write_json_lines(target / QUARANTINE_FILE, left_out)
    meta = LeRobotDatasetMetadata(repo_id, root=target)
    meta.info.splits = splits
    write_info(meta.info, target)
    write_card(meta, merged)
    return len(merged)


def _moved(entries: list[dict], folder: str) -> list[dict]:
    """Records, or what was left out, with sources below a folder."""
    return [{**entry, "source": f"{folder}/{entry['source']}"} for entry in entries] if folder else entries


def _check_agreement(roots: Sequence[Path], records: Sequence[list[dict]], infos: Sequence[dict]) -> None:
    """What LeRobot does not compare, or says too little about."""
    facts = [_facts(part[0], info) for part, info in zip(records, infos, strict=True)]
    for root, found in zip(roots[1:], facts[1:], strict=True):
        for name, value in found.items():
            if value != facts[0][name]:
                raise RecordingError(
                    f"{root}: {name} is {value}, but {facts[0][name]} in {roots[0]}; convert them with the same options"
                )
    sources = Counter(record["source"] for part in records for record in part)
    twice = [source for source, count in sources.items() if count > 1]
    if twice:
        raise RecordingError(
            f"{twice[0]}: is in several of the datasets, as are {len(twice) - 1} more; leave one out, or if they are "
            "recordings of different folders give these with --folders"
        )


def _facts(record: dict, info: dict) -> dict[str, str]:
    """What datasets must have in common to be one."""
    video = video_format(info)
    # As text, because the order of keys is that of the channels.
    options = {name: json.dumps(value, ensure_ascii=False) for name, value in record["options"].items()}
    common = {"fps": info["fps"], "schema_version": record["schema_version"], "video": f"{video.codec} {video.pix_fmt}"}
    return options | {name: str(value) for name, value in common.items()}


def _joined_splits(roots: Sequence[Path], infos: Sequence[dict]) -> dict[str, str]:
    """Ranges of the episodes of all datasets; every split must lie in one piece."""
    joined: dict[str, tuple[int, int]] = {}
    first = 0
    for root, info in zip(roots, infos, strict=True):
        for name, span in sorted(info["splits"].items(), key=lambda split: int(split[1].split(":")[0])):
            start, stop = (first + int(number) for number in span.split(":"))
            from_episode, until = joined.get(name, (start, start))
            if until != start:
                raise RecordingError(
                    f"{root}: its split {name} would not lie beside that of the datasets before it; order the datasets "
                    "by split, or convert each split to datasets of its own"
                )
            joined[name] = (from_episode, stop)
        first += info["total_episodes"]
    return {name: f"{start}:{stop}" for name, (start, stop) in joined.items()}


def _append_audit(source: Path, target: Path, first_episode: int) -> None:
    """Copies the files of an audit table behind those of another, a row group at a time."""
    target.mkdir(parents=True, exist_ok=True)
    first_number = len(list(target.glob("*.parquet")))
    for number, path in enumerate(sorted(source.glob("*.parquet")), start=first_number):
        try:
            with (
                pq.ParquetFile(path) as file,
                pq.ParquetWriter(target / f"file-{number:03d}.parquet", file.schema_arrow) as writer,
            ):
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group)
                    column = table.schema.get_field_index("episode_index")
                    episodes = pa.array(table["episode_index"].to_numpy() + first_episode)
                    writer.write_table(table.set_column(column, "episode_index", episodes))
        except pa.ArrowException as error:
            problem = " ".join(str(error).split()).rstrip(".")
            raise RecordingError(f"{path}: damaged ({problem}); convert the recordings of its dataset again") from None
