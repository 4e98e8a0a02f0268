import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lerobot.datasets.dataset_tools import modify_features
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_qwenvla.evaluation import evaluate as command
from lerobot_qwenvla.evaluation.comparison import COPY_LAST, MEAN, POLICY, SHUFFLED


@pytest.fixture
def run(checkpoint, monkeypatch, tmp_path) -> Callable[..., str | int | None]:
    """What the command exits with, nothing or what it complains of; it writes to tmp_path / "out"."""

    def run(dataset: LeRobotDataset | Path, *arguments: str) -> str | int | None:
        root = dataset.root if isinstance(dataset, LeRobotDataset) else dataset
        source = [f"--dataset.root={root}", "--dataset.repo_id=tests/some", "--dataset.video_backend=pyav"]
        policy = [] if any("--policy.path" in argument for argument in arguments) else [f"--policy.path={checkpoint}"]
        monkeypatch.setattr(
            sys, "argv", ["qwenvla-evaluate", *policy, *source, f"--output={tmp_path / 'out'}", *arguments]
        )
        try:
            command.main()
        except SystemExit as exit_:
            return exit_.code

    return run


def test_command_compares_the_policy_on_pictures(run, pixel_dataset, tmp_path, capsys):
    assert run(pixel_dataset, "--dataset.episodes=[0,2]", "--batch_size=3") is None
    written = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert written["players"].keys() == {POLICY, SHUFFLED, COPY_LAST, MEAN}
    assert written["dataset"]["episodes"] == [0, 2]
    assert (written["decisions"], written["n_action_steps"], written["chunk_size"]) == (10, 2, 6)
    assert written["players"][POLICY]["executed"]["steps"] == 18
    # The mean of uniform numbers in [-1, 1] is off by their variance, a third; of a channel at rest by nothing.
    mean = written["players"][MEAN]["executed"]["channels"]
    assert mean["channel.0"]["mse"] == pytest.approx(1 / 3, abs=0.15)
    assert mean["channel.4"] == {
        "mse": 0, "accuracy": 1, "pressed": 0, "transition_f1": None, "best_threshold": None,
        "reliability": {"predicted": [0], "observed": [0], "steps": [18]},
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert all(player in printed for player in written["players"])
    # None of these channels is ever pressed.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["episode.png", "metrics.json"]


def test_command_on_features_says_why_there_is_no_other_instruction(
    run, feature_dataset, pixel_dataset, tmp_path, capsys
):
    of = {}
    for dataset in (feature_dataset, pixel_dataset):
        assert run(dataset, "--policy.n_action_steps=5") is None
        of[dataset.root] = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
        if dataset is feature_dataset:
            assert SHUFFLED not in of[dataset.root]["players"]
            assert "Precomputed features have read their instructions" in capsys.readouterr().out
    features, pictures = of.values()
    assert features["decisions"] == 6
    mse, same = (each["players"][POLICY]["chunk"]["mse"] for each in (features, pictures))
    assert mse == pytest.approx(same, rel=1e-4)


def test_command_says_that_there_is_one_instruction_only(run, pixel_dataset, tmp_path, capsys):
    assert run(pixel_dataset, "--dataset.episodes=[1]") is None
    assert "All episodes have one instruction ('go to box 1')" in capsys.readouterr().out
    assert SHUFFLED not in json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["players"]


def test_held_out_episodes_are_the_default(run, pixel_dataset, tmp_path):
    root = shutil.copytree(pixel_dataset.root, tmp_path / "data")
    info = json.loads((root / "meta" / "info.json").read_text())
    info["splits"] = {"train": "0:2", "test": "2:3"}
    (root / "meta" / "info.json").write_text(json.dumps(info))
    assert run(root) is None
    written = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert written["dataset"] == {
        "repo_id": "tests/some", "root": str(root), "selection": "split test", "episodes": [2],
    }  # fmt: skip


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no space left")])
def test_what_was_there_stays_when_it_is_interrupted(run, pixel_dataset, tmp_path, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(command.json, "dumps", fail)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("{}")
    message = run(pixel_dataset, "--dataset.episodes=[0]")
    assert "interrupted" in message or "no space left" in message
    assert (tmp_path / "out" / "metrics.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--policy.path=/no/such"], "--policy.path=/no/such: "),
        (["--split=tset"], "--split=tset: the dataset has train; pass one of these"),
        (["--dataset.episodes=[7]"], "--dataset.episodes: no episode 7, the dataset has 0 to 2"),
        (["--dataset.root=/no/such"], "--dataset.root=/no/such: no dataset there"),
        (["--policy.n_action_steps=9"], "--policy.n_action_steps=9 exceeds --policy.chunk_size=6"),
        (["--batch_size=0"], "--batch_size must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line(run, pixel_dataset, tmp_path, arguments, complaint):
    message = run(pixel_dataset, *arguments)
    assert message.startswith(f"qwenvla-evaluate: {complaint}")
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_features_of_another_backbone_are_refused(run, feature_dataset):
    message = run(feature_dataset, "--policy.frame_encoding=joint")
    assert "qwenvla-evaluate: the features of observation.images.screen were computed with" in message
    assert len(message.splitlines()) == 1


def test_actions_of_another_schema_are_refused(run, pixel_dataset, tmp_path):
    info = json.loads((pixel_dataset.root / "meta" / "info.json").read_text())
    for name, change, complaint in (
        ("fewer", {"shape": [4], "names": [f"channel.{i}" for i in range(4)]}, "trained on 5 action channels"),
        ("others", {"names": ["a", "b", "c", "d", "e"]}, "trained on the actions ['channel.0', "),
    ):
        root = shutil.copytree(pixel_dataset.root, tmp_path / name)
        features = {**info["features"], "action": {**info["features"]["action"], **change}}
        (root / "meta" / "info.json").write_text(json.dumps({**info, "features": features}))
        message = run(root)
        assert complaint in message
        assert len(message.splitlines()) == 1


def test_a_dataset_without_actions_is_refused(run, pixel_dataset, tmp_path):
    modify_features(pixel_dataset, remove_features=["action"], output_dir=tmp_path / "idle", repo_id="tests/idle")
    assert "the dataset has no 'action' to compare with" in run(tmp_path / "idle")
