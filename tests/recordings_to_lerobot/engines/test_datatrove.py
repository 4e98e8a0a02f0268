"""datatrove's own executor, one task after the other: its processes would import PyTorch first."""

import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datatrove.executor import LocalPipelineExecutor
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.dataset.names import EVENTS_FOLDER, FRAMES_FOLDER, QUARANTINE_FILE, RECORDINGS_FILE
from recordings_to_lerobot.engines.datatrove import ConvertShards, MergeShards
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.verification.dataset import verify
from tests.recordings_to_lerobot.raw_recordings import make_recording, messy_ticks_and_events

N_TASKS = 8


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """Eleven recordings, of which one cannot be converted: some tasks have one, some two."""
    raw = tmp_path_factory.mktemp("raw") / "raw"
    for seed in range(11):
        ticks, events = messy_ticks_and_events(seed, n_frames=8)
        make_recording(raw / f"{seed:02d}", ticks, events, task=f"go {seed % 2}")
    (raw / "05/video.mp4").write_bytes(b"no video")
    return raw


@pytest.fixture(scope="module")
def config(raw, tmp_path_factory) -> ConvertConfig:
    """Of the whole, with the layout of a sample."""
    folder = tmp_path_factory.mktemp("whole")
    layout = folder / "layout.yaml"
    convert(ConvertConfig(input=raw / "00", repo_id="a/b", root=folder / "sample", layout=layout, dry_run=True))
    assert layout.exists() and not (folder / "sample").exists()
    return ConvertConfig(input=raw, repo_id="a/b", root=folder / "merged", layout=layout)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("datatrove") / "shards"


@pytest.fixture(scope="module")
def merged(config, shards) -> Path:
    """By both jobs."""
    logs = shards.parent / "logs"
    converting = LocalPipelineExecutor(
        [ConvertShards(config, shards)], tasks=N_TASKS, workers=1, logging_dir=str(logs / "convert")
    )
    LocalPipelineExecutor([MergeShards(config, shards)], logging_dir=str(logs / "merge"), depends=converting).run()
    return config.root


def rows(root: Path, folder: str) -> list[dict]:
    """Of a table; LeRobot numbers the instructions anew as it merges, and gives vectors another type."""
    table = pa.concat_tables(pq.read_table(path) for path in sorted((root / folder).rglob("*.parquet")))
    return [{name: value for name, value in row.items() if name != "task_index"} for row in table.to_pylist()]


@pytest.mark.parametrize("folder", ["data", EVENTS_FOLDER, FRAMES_FOLDER])
def test_eight_tasks_make_the_tables_of_one_process(merged, config, raw, tmp_path, folder):
    convert(ConvertConfig(input=raw, repo_id="a/b", root=tmp_path / "alone", layout=config.layout))
    assert rows(merged, folder) == rows(tmp_path / "alone", folder)
    for name in (RECORDINGS_FILE, QUARANTINE_FILE):
        assert (merged / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_merged_shards_verify_clean(merged, raw):
    assert not verify(raw, merged, workers=1).failed.total()
    dataset = LeRobotDataset("a/b", root=merged, video_backend="pyav")
    assert dataset.num_episodes == 10 and len([dataset[i] for i in range(len(dataset))]) == dataset.num_frames


@pytest.mark.usefixtures("merged")
def test_a_task_that_was_killed_goes_on(shards, config, tmp_path):
    again = ConvertShards(config, tmp_path)
    task = os.fork()
    if not task:
        again.run(rank=7, world_size=N_TASKS)
        os._exit(0)
    while not list(tmp_path.glob(".00007.work/*.entry")):
        time.sleep(0.005)
    os.kill(task, signal.SIGKILL)
    os.waitpid(task, 0)
    again.run(rank=7, world_size=N_TASKS)
    for folder in ("data", EVENTS_FOLDER, FRAMES_FOLDER):
        assert rows(tmp_path / "00007", folder) == rows(shards / "00007", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["00007"]


def test_shards_that_could_not_be_merged_are_refused_before_they_are_made(raw, config, tmp_path):
    with pytest.raises(RecordingError, match="layout: missing"):
        ConvertShards(ConvertConfig(input=raw, repo_id="a/b"), tmp_path)
    with pytest.raises(RecordingError, match="splits: "):
        ConvertShards(ConvertConfig(input=raw, repo_id="a/b", layout=config.layout, splits={"val": 0.5}), tmp_path)
    with pytest.raises(RecordingError, match="root: missing"):
        MergeShards(ConvertConfig(input=raw, repo_id="a/b"), tmp_path)
