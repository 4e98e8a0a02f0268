"""benchmarks/all_tasks.py, in small."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lerobot_qwenvla.demo import runner


@pytest.fixture
def all_tasks():
    spec = importlib.util.spec_from_file_location("all_tasks", Path("benchmarks/all_tasks.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_policy_is_trained_on_two_tasks_and_evaluated_on_each(all_tasks, tmp_path, monkeypatch, run_forked):
    monkeypatch.setattr(runner, "run_command", run_forked)
    training = yaml.safe_load(Path("configs/all_tasks.yaml").read_text())
    training |= {"steps": 2, "batch_size": 2, "log_freq": 1, "eval_steps": 0, "num_workers": 0}
    training["dataset"] |= {"eval_split": 0.0}
    training["policy"] |= {"image_size": 32, "n_action_steps": 16, "expert_layers": 2, "expert_width": 64}
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(training))
    out = tmp_path / "out"
    options = replace(
        all_tasks.OPTIONS, output_dir=out, train_config=tmp_path / "short.yaml", task="OneRoom,Sign", canvas=32,
        episodes=2, eval_episodes=1, eval_batch_size=1,
    )  # fmt: skip
    results = all_tasks.measure(options, seed=7)
    assert list(results["recorded"]) == list(results["new_words"]) == ["OneRoom", "Sign"]
    assert {path.parent.name for path in out.glob("recordings/*/episode_*")} == {"OneRoom", "Sign"}
    told = (out / "dataset" / "meta" / "tasks.parquet").read_bytes()
    assert b"red box" in told and b"sign" in told
    played = all_tasks.measure_players(options, ["Sign"])
    assert played["random"]["Sign"]["interval_95"][0] >= 0.0
    assert json.loads((out / "stages.json").read_text())["evaluate-recorded-7"]["seconds"] > 0
