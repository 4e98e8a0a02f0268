"""datatrove's own executor, one task after the other: its processes would import PyTorch first."""

import contextlib
import os
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.dataset.names import EVENTS_FOLDER, FRAMES_FOLDER, QUARANTINE_FILE, RECORDINGS_FILE
from recordings_to_lerobot.engines.datatrove import ConvertShards, MergeShards
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.verification.dataset import verify
from tests.recordings_to_lerobot.raw_recordings import make_recording, messy_ticks_and_events

PAGE = Path(__file__).parents[3] / "docs" / "converting.md"
N_TASKS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the page's example runs: recordings, of which one cannot be converted, and the layout of a sample."""
    folder = tmp_path_factory.mktemp("cluster")
    for seed in range(11):
        ticks, events = messy_ticks_and_events(seed, n_frames=8)
        make_recording(folder / f"many/{seed:02d}", ticks, events, task=f"go {seed % 2}")
    (folder / "many/05/video.mp4").write_bytes(b"no video")
    layout = folder / "layout.yaml"
    convert(ConvertConfig(input=folder / "many/00", repo_id="a/b", root=folder / "x", layout=layout, dry_run=True))
    assert layout.exists() and not (folder / "x").exists()
    return folder


@pytest.fixture(scope="module")
def merged(folder) -> Path:
    """The example, with more tasks than recordings can be shared among evenly: some have one, some two."""
    [example] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    with contextlib.chdir(folder):
        exec(example.replace("tasks=2", f"tasks={N_TASKS}"), {})
    return folder / "datasets/MANY"


@pytest.fixture(scope="module")
def config(folder) -> ConvertConfig:
    return ConvertConfig(input=folder / "many", repo_id="a/b", root=folder / "none", layout=folder / "layout.yaml")


def rows(root: Path, folder: str) -> list[dict]:
    """Of a table; LeRobot numbers the instructions anew as it merges, and gives vectors another type."""
    table = pa.concat_tables(pq.read_table(path) for path in sorted((root / folder).rglob("*.parquet")))
    return [{name: value for name, value in row.items() if name != "task_index"} for row in table.to_pylist()]


@pytest.mark.parametrize("table", ["data", EVENTS_FOLDER, FRAMES_FOLDER])
def test_eight_tasks_make_the_tables_of_one_process(merged, config, tmp_path, table):
    convert(replace(config, root=tmp_path / "alone"))
    assert rows(merged, table) == rows(tmp_path / "alone", table)
    for name in (RECORDINGS_FILE, QUARANTINE_FILE):
        assert (merged / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_merged_shards_verify_clean(merged, config):
    assert not verify(config.input, merged, workers=1).failed.total()
    dataset = LeRobotDataset("a/b", root=merged, video_backend="pyav")
    assert dataset.num_episodes == 10 and len([dataset[i] for i in range(len(dataset))]) == dataset.num_frames


@pytest.mark.usefixtures("merged")
def test_a_task_that_was_killed_goes_on(folder, config, tmp_path):
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
    for table in ("data", EVENTS_FOLDER, FRAMES_FOLDER):
        assert rows(tmp_path / "00007", table) == rows(folder / "datasets/shards/00007", table)
    assert [path.name for path in tmp_path.iterdir()] == ["00007"]


def test_a_task_that_is_done_has_nothing_to_do(config, tmp_path):
    task = ConvertShards(config, tmp_path)
    task.run(rank=7, world_size=N_TASKS)
    info = (tmp_path / "00007/meta/info.json").read_bytes()
    task.run(rank=7, world_size=N_TASKS)
    assert (tmp_path / "00007/meta/info.json").read_bytes() == info


def test_a_shard_that_was_left_out_is_converted_once_its_recordings_are_mended(folder, config, tmp_path):
    shutil.copytree(folder / "many/05", tmp_path / "many/05")
    task = ConvertShards(replace(config, input=tmp_path / "many"), tmp_path / "shards")
    for _ in range(2):
        task.run()
        assert [path.name for path in (tmp_path / "shards/00000").rglob("*") if path.is_file()] == ["quarantine.jsonl"]
    with pytest.raises(RecordingError, match="none of the datasets has an episode"):
        MergeShards(replace(config, root=tmp_path / "merged"), tmp_path / "shards").run()
    shutil.copy(folder / "many/04/video.mp4", tmp_path / "many/05/video.mp4")
    task.run()
    assert len(rows(tmp_path / "shards/00000", "data")) > 0
    assert (tmp_path / "shards/00000" / QUARANTINE_FILE).read_text() == ""


def test_shards_that_could_not_be_merged_are_refused_before_they_are_made(config, tmp_path):
    for change, problem in (({"layout": None}, "layout: missing"), ({"splits": {"val": 0.5}}, "splits: ")):
        with pytest.raises(RecordingError, match=problem):
            ConvertShards(replace(config, **change), tmp_path)
    with pytest.raises(RecordingError, match="root: missing"):
        MergeShards(replace(config, root=None), tmp_path)
