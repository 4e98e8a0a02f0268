"""A dataset written by the converter against one that LeRobot's own writer made of the same rows.

What the writer takes from LeRobot without being invited to, it takes in the form LeRobot gives it today: these tests
fail when that form changes.
"""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.dataset.writer import features
from tests.recordings_to_lerobot.raw_recordings import make_recording, messy_ticks_and_events

SCREEN = "observation.images.screen"


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Folders of the converted dataset and of LeRobot's."""
    folder = tmp_path_factory.mktemp("writers")
    for index in range(3):
        ticks, events = messy_ticks_and_events(seed=index)
        make_recording(folder / f"raw/{index}", ticks, events, task=f"task {index % 2}")
    convert(ConvertConfig(input=folder / "raw", repo_id="a/b", root=folder / "ours", video="encode"))
    ours = LeRobotDataset("a/b", root=folder / "ours", video_backend="pyav")
    schema = features((64, 64), tuple(ours.meta.features["action"]["names"]))
    theirs = LeRobotDataset.create("a/b", 10, schema, root=folder / "theirs", video_backend="pyav")
    rows = ours.hf_dataset.with_format("arrow")[:].to_pydict()
    for index in range(len(ours)):
        picture = (ours[index][SCREEN].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        columns = {name: np.array(rows[name][index], np.float32) for name in ("action", "observation.state")}
        exact = {name: np.array([rows[name][index]]) for name in schema if name.startswith("recording.")}
        theirs.add_frame({SCREEN: picture, **columns, **exact, "task": ours[index]["task"]})
        if index + 1 == len(ours) or rows["episode_index"][index + 1] != rows["episode_index"][index]:
            theirs.save_episode()
    theirs.finalize()
    return folder / "ours", folder / "theirs"


def test_tables_have_the_columns_types_and_rows_of_lerobots(roots):
    ours, theirs = (pq.read_table(root / "data/chunk-000/file-000.parquet") for root in roots)
    assert ours.schema.equals(theirs.schema, check_metadata=False)
    described = [json.loads(table.schema.metadata[b"huggingface"])["info"]["features"] for table in (ours, theirs)]
    assert described[0] == described[1]
    assert ours.equals(theirs)


def test_every_episode_is_a_row_group(roots):
    groups = [pq.read_metadata(root / "data/chunk-000/file-000.parquet").num_row_groups for root in roots]
    assert groups[0] == groups[1] == 3


def test_metadata_has_the_fields_of_lerobots(roots):
    ours, theirs = (json.loads((root / "meta/info.json").read_text()) for root in roots)
    assert ours == theirs


def test_episodes_and_tasks_are_those_of_lerobot(roots):
    ours, theirs = (pd.read_parquet(root / "meta/episodes/chunk-000/file-000.parquet") for root in roots)
    assert set(ours.columns) == set(theirs.columns)
    ours = ours[theirs.columns]
    sampled = [name for name in ours.columns if name.startswith(f"stats/{SCREEN}/")]
    pd.testing.assert_frame_equal(ours.drop(columns=sampled), theirs.drop(columns=sampled), rtol=1e-6)
    pd.testing.assert_frame_equal(*(pd.read_parquet(root / "meta/tasks.parquet") for root in roots))


def test_statistics_are_those_of_lerobot_up_to_the_sampling_of_pictures(roots):
    ours, theirs = (json.loads((root / "meta/stats.json").read_text()) for root in roots)
    assert ours.keys() == theirs.keys()
    for name, statistics in theirs.items():
        assert ours[name].keys() == statistics.keys()
        for statistic, expected in statistics.items():
            assert np.shape(ours[name][statistic]) == np.shape(expected), (name, statistic)
            if name != SCREEN:
                np.testing.assert_allclose(ours[name][statistic], expected, rtol=1e-6)
    for statistic in ("mean", "std"):
        np.testing.assert_allclose(ours[SCREEN][statistic], theirs[SCREEN][statistic], atol=0.15)
