import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lerobot_qwenvla.demo import pipeline, runner
from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.pipeline import run
from lerobot_qwenvla.demo.runner import run_stages
from lerobot_qwenvla.demo.stages import demo_stages


@pytest.fixture
def one_import(monkeypatch, run_forked) -> None:
    monkeypatch.setattr(runner, "run_command", run_forked)
    monkeypatch.setattr(pipeline, "run_command", run_forked)


@pytest.fixture
def short_run(tmp_path) -> Path:
    """The demo's own training run, but short and small."""
    training = yaml.safe_load(Path("configs/demo.yaml").read_text())
    training |= {"steps": 2, "batch_size": 2, "log_freq": 1, "eval_steps": 1, "num_workers": 0}
    training["dataset"]["eval_split"] = 0.5  # of the two episodes with the same words, one
    training["policy"] |= {"image_size": 32, "n_action_steps": 16, "expert_layers": 2, "expert_width": 64}
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(training))
    return path


@pytest.mark.usefixtures("one_import")
def test_the_whole_demo_runs_and_a_second_time_it_has_nothing_to_do(short_run, tmp_path, capsys):
    folder = tmp_path / "demo"
    config = DemoConfig(
        output_dir=folder, train_config=short_run, canvas=32, episodes=3, eval_episodes=1, eval_batch_size=1
    )
    summary = run(config)
    assert json.loads((folder / "summary.json").read_text())["success"] == summary["success"]
    assert summary["success"]["scripted"] == 1.0
    assert summary["players"]["policy"] == "QwenVLA on a backbone of 13 MB with random weights"
    assert summary["eval_seeds"] == [100_000]
    assert summary["episodes"] == 3
    assert set(summary["seconds"]) == {
        "backbone", "record", "convert", "features", "baselines", "train-1000", "evaluate-1000"
    }  # fmt: skip
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 3
    assert page.count("data:video/mp4;base64,") == 1
    assert "red box" in page
    assert "random weights" in page
    with Image.open(folder / "playing.webp") as playing:
        assert playing.n_frames > 1
    capsys.readouterr()
    assert run_stages(demo_stages(config), folder) == summary["seconds"]
    assert capsys.readouterr().out.count("done before") == 7


def test_recorded_seeds_are_never_evaluated_on(tmp_path):
    config = DemoConfig(output_dir=tmp_path / "demo", episodes=150, eval_first_seed=149)
    with pytest.raises(ValueError, match="eval_first_seed=149 is among the 150 recorded seeds; choose 150 or more"):
        run(config)
    assert not (tmp_path / "demo").exists()


def test_missing_training_config_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.yaml: missing; run from the project's folder"):
        run(DemoConfig(output_dir=tmp_path / "demo", train_config=tmp_path / "nowhere.yaml"))
