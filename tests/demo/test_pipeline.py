import json
from pathlib import Path

import pytest
import yaml

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.pipeline import run


@pytest.fixture
def short_run(tmp_path) -> Path:
    """The demo's own training run, a few steps long."""
    training = yaml.safe_load(Path("configs/demo.yaml").read_text())
    training |= {"steps": 4, "batch_size": 4, "log_freq": 1, "eval_steps": 2, "num_workers": 0}
    training["policy"] |= {"image_size": 64}
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(training))
    return path


def test_the_whole_demo_runs_and_a_second_time_it_has_nothing_to_do(short_run, tmp_path, capsys):
    config = DemoConfig(
        output_dir=tmp_path / "demo", train_config=short_run, canvas=64, episodes=3, eval_episodes=2, eval_batch_size=2
    )
    summary = run(config)
    assert json.loads((tmp_path / "demo" / "summary.json").read_text())["success"] == summary["success"]
    assert summary["success"]["expert"] == 1.0
    assert summary["eval_seeds"] == [100_000, 100_001]
    assert summary["episodes"] == 3
    assert set(summary["seconds"]) == {
        "backbone", "record", "convert", "features", "baselines", "train-1000", "evaluate-1000"
    }  # fmt: skip
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count("<svg") == 3
    assert page.count("data:video/mp4;base64,") == 2
    assert "go to the red box" in page
    capsys.readouterr()
    assert run(config)["seconds"] == summary["seconds"]
    assert capsys.readouterr().out.count("done before") == 7


def test_recorded_seeds_are_never_evaluated_on(tmp_path):
    config = DemoConfig(output_dir=tmp_path / "demo", episodes=150, eval_first_seed=149)
    with pytest.raises(ValueError, match="eval_first_seed=149 is among the 150 recorded seeds; choose 150 or more"):
        run(config)
    assert not (tmp_path / "demo").exists()


def test_missing_training_config_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.yaml: missing; run from the project's folder"):
        run(DemoConfig(output_dir=tmp_path / "demo", train_config=tmp_path / "nowhere.yaml"))
