"""Datasets converted apart and merged: the same as converted together, and as well accounted for."""

import json
import shutil
from pathlib import Path

import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from recordings_to_lerobot.cli import main
from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.dataset.audit import read_audit
from recordings_to_lerobot.dataset.names import EVENTS_FOLDER, FRAMES_FOLDER
from recordings_to_lerobot.verification.dataset import verify
from recordings_to_lerobot.verification.explanation import explain_row
from tests.recordings_to_lerobot.raw_recordings import make_recording, messy_ticks_and_events

N_FRAMES = 8


def make_messy(folder: Path, seed: int, **meta) -> None:
    ticks, events = messy_ticks_and_events(seed, N_FRAMES)
    make_recording(folder, ticks, events, task=f"go {seed % 2}", **meta)


def convert_to(folder: Path, root: Path, **options) -> Path:
    convert(ConvertConfig(input=folder, root=root, repo_id="tests/any", workers=1, **options))
    return root


def merge(roots: list[Path], target: Path, *options: str) -> int:
    datasets = ", ".join(map(str, roots))
    return main(["merge", f"--datasets=[{datasets}]", f"--root={target}", "--repo_id=tests/merged", *options])


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """Two folders with two recordings each, and one that cannot be converted in the second."""
    raw = tmp_path_factory.mktemp("raw") / "raw"
    for seed in range(4):
        make_messy(raw / "ab"[seed // 2] / f"{seed % 2}", seed)
    make_messy(raw / "b/broken", 4)
    (raw / "b/broken/video.mp4").write_bytes(b"no video")
    return raw


@pytest.fixture(scope="module")
def shards(raw, tmp_path_factory) -> list[Path]:
    roots = tmp_path_factory.mktemp("shards")
    return [convert_to(raw / name, roots / name) for name in "ab"]


@pytest.fixture(scope="module")
def merged(shards, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("merged") / "all"
    assert merge(shards, target, "--folders=[a, b]") == 0
    return target


def test_merged_dataset_verifies_clean(raw, merged):
    findings = verify(raw, merged, workers=1)
    assert not findings.failed.total(), findings.lines
    assert findings.passed["recordings accounted for"] == 5


def test_merged_is_what_converting_all_together_gives(raw, merged, tmp_path):
    together = convert_to(raw, tmp_path / "together")
    ours, theirs = (LeRobotDataset("tests/any", root=root, video_backend="pyav") for root in (merged, together))
    assert len(ours) == len(theirs)
    for row, expected in zip(ours, theirs, strict=True):
        assert row["task"] == expected["task"]
        assert all((row[name] == expected[name]).all() for name in expected if name not in ("task", "task_index"))
    for name in ("meta/recordings.jsonl", "audit/quarantine.jsonl"):
        lines = [[json.loads(line) for line in (root / name).read_text().splitlines()] for root in (merged, together)]
        sources = [[entry["source"] for entry in part] for part in lines]
        assert sources[0] == sources[1]
    for folder in (EVENTS_FOLDER, FRAMES_FOLDER):
        for episode in range(4):
            assert read_audit(merged, folder, episode).equals(read_audit(together, folder, episode))
    assert "4 episodes" in (merged / "README.md").read_text() and "tests/merged" in (merged / "README.md").read_text()


def test_row_of_the_second_dataset_is_explained_as_before(shards, merged):
    alone, joined = explain_row(shards[1], 1, 2, 1), explain_row(merged, 3, 2, 1)
    assert joined.source == f"b/{alone.source}"
    assert joined.reasons == alone.reasons
    assert [row.events for row in joined.rows] == [row.events for row in alone.rows]


def test_merged_dataset_can_be_merged_again_and_added_to(raw, merged, shards, tmp_path):
    make_messy(tmp_path / "new/c", 5)
    more = convert_to(tmp_path / "new", tmp_path / "more")
    assert merge([merged, more], tmp_path / "twice") == 0
    shutil.copytree(raw, tmp_path / "raw")
    shutil.copytree(tmp_path / "new/c", tmp_path / "raw/c")
    assert not verify(tmp_path / "raw", tmp_path / "twice", workers=1).failed.total()
    make_messy(tmp_path / "raw/d", 6)
    convert_to(tmp_path / "raw", tmp_path / "twice")
    findings = verify(tmp_path / "raw", tmp_path / "twice", workers=1)
    assert not findings.failed.total(), findings.lines
    assert findings.passed["recordings accounted for"] == 7


def test_splits_move_with_their_episodes_and_must_lie_together(raw, shards, tmp_path, capsys):
    halves = convert_to(raw / "a", tmp_path / "halves", splits={"train": 0.5, "test": 0.5})
    assert merge([shards[1], halves], tmp_path / "all", "--folders=[b, a]") == 0
    assert json.loads((tmp_path / "all/meta/info.json").read_text())["splits"] == {"train": "0:3", "test": "3:4"}
    assert not verify(raw, tmp_path / "all", workers=1).failed.total()
    assert merge([halves, shards[1]], tmp_path / "torn", "--folders=[a, b]") == 2
    assert "its split train would not lie beside that of the datasets before it" in capsys.readouterr().err
    assert not (tmp_path / "torn").exists()


def test_recording_that_one_dataset_left_out_and_another_has_is_not_left_out(raw, tmp_path):
    shutil.copytree(raw / "b", tmp_path / "raw")
    first = convert_to(tmp_path / "raw", tmp_path / "first")
    shutil.rmtree(tmp_path / "raw")
    make_messy(tmp_path / "raw/broken", 4)
    second = convert_to(tmp_path / "raw", tmp_path / "second")
    assert merge([first, second], tmp_path / "all") == 0
    assert (tmp_path / "all/audit/quarantine.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"offset_ms": 3.0}, "offset_ms is 3.0, but null in"),
        ({"mouse": "delta"}, 'mouse is "delta", but "absolute" in'),
        ({"video": "copy"}, "video is h264 yuv420p, but av1 yuv420p in"),
    ],
)
def test_datasets_that_differ_are_refused_by_name(options, problem, shards, tmp_path, capsys):
    make_recording(tmp_path / "raw/new")
    other = convert_to(tmp_path / "raw", tmp_path / "other", **options)
    assert merge([shards[0], other], tmp_path / "all") == 2
    assert f"{other}: {problem} {shards[0]}; convert them with the same options" in capsys.readouterr().err
    assert not (tmp_path / "all").exists() and not (tmp_path / ".all.work").exists()


def test_datasets_that_hold_a_recording_twice_are_refused(shards, tmp_path, capsys):
    assert merge(shards, tmp_path / "all") == 2
    assert "0: is in several of the datasets, as are 1 more" in capsys.readouterr().err


def test_what_is_no_dataset_or_cut_off_is_refused_and_nothing_is_left(shards, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(shards[1], broken)
    audit = next((broken / EVENTS_FOLDER).iterdir())
    audit.write_bytes(audit.read_bytes()[:-20])
    for wrong in (broken, tmp_path / "nothing"):
        assert merge([shards[0], wrong], tmp_path / "all", "--folders=[a, b]") == 2
        assert str(wrong) in capsys.readouterr().err
    assert merge([shards[0]], broken) == 2
    assert "exists; give a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]
