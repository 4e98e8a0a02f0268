import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from lerobot.configs.default import DatasetConfig, WandBConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.policies.factory import make_pre_post_processors
from lerobot.utils.io_utils import write_video

from lerobot_qwenvla.evaluation.report import command

LOG = "step:20 smpl:1K loss:2.113 lr:1.1e-04\nstep:40 smpl:2K loss:1.338 lr:3.1e-04\n"


@pytest.fixture(scope="module")
def trained(make_trainee, feature_dataset, tmp_path_factory) -> Path:
    """The folder of a training run on features, logged to W&B."""
    output_dir = tmp_path_factory.mktemp("report") / "run"
    checkpoint = output_dir / "checkpoints" / "last" / "pretrained_model"
    policy = make_trainee(feature_dataset)
    policy.save_pretrained(checkpoint)
    for processor in make_pre_post_processors(policy.config, dataset_stats=feature_dataset.meta.stats):
        processor.save_pretrained(checkpoint)
    data = DatasetConfig("tests/pixels", root=str(feature_dataset.root), video_backend="pyav")
    wandb = WandBConfig(enable=True, mode="offline", project="tests", run_id="abcdefgh")
    TrainPipelineConfig(data, policy=policy.config, wandb=wandb, steps=40, log_freq=20).save_pretrained(checkpoint)
    (output_dir / "train.log").write_text(LOG)
    return output_dir


@pytest.fixture
def run_dir(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def report(monkeypatch, run_dir):
    """What the command exits with, nothing or what it complains of."""

    def report(*arguments: str) -> str | int | None:
        monkeypatch.setattr(sys, "argv", ["qwenvla-report", f"--output_dir={run_dir}", *arguments])
        try:
            command.main()
        except SystemExit as exit_:
            return exit_.code

    return report


@pytest.fixture
def eval_dir(tmp_path) -> Path:
    """As lerobot-eval leaves it."""
    folder = tmp_path / "eval"
    folder.mkdir()
    videos = [folder / f"eval_episode_{i}.mp4" for i in range(2)]
    for video in videos:
        write_video(video, [np.zeros((32, 32, 3), np.uint8)] * 3, 10)
    metrics = {"video_paths": [str(video) for video in videos], "successes": [True, False]}
    (folder / "eval_info.json").write_text(json.dumps({"per_task": [{"task_group": "miniworld", "metrics": metrics}]}))
    return folder


def test_the_page_shows_curves_predictions_attention_and_films(report, run_dir, eval_dir, pixel_dataset):
    assert report(f"--pictures={pixel_dataset.root}", f"--eval_dir={eval_dir}") is None
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    for title in ("Curves", "Predicted and recorded actions", "Attention, screen"):
        assert f"<h2>{title}</h2>" in page
    assert page.count("<svg") == 3
    assert page.count("data:video/mp4;base64,") == 2
    assert "miniworld 0: success" in page and "miniworld 1: no success" in page
    assert "40 steps of 8 samples of tests/pixels" in page


def test_what_is_not_there_is_said(report, run_dir):
    (run_dir / "train.log").unlink()
    _change_settings(run_dir, ema={"enable": False})  # as qwenvla-train writes it
    assert report() is None
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "No curves: " in page and "pass --pictures=DATASET" in page
    assert page.count("<svg") == 1


def test_the_same_goes_into_the_runs_offline_wandb(report, run_dir, eval_dir, pixel_dataset, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert report(f"--pictures={pixel_dataset.root}", f"--eval_dir={eval_dir}", "--wandb=true") is None
    [offline] = (run_dir / "wandb").glob("offline-run-*-abcdefgh")
    media = [path.name for path in offline.glob("files/media/**/*.*")]
    assert sum(name.endswith(".png") for name in media) == 3
    assert sum(name.endswith(".mp4") for name in media) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output_dir=/no/such"], "no checkpoint; --output_dir must be that of a training run"),
        (["--eval_dir=/no/such"], "--eval_dir must be the --output_dir of lerobot-eval"),
        (["--pictures=/no/such"], "/no/such: no dataset there"),
    ],
)
def test_bad_input_is_one_line(report, arguments, message):
    complaint = report(*arguments)
    assert message in complaint and "\n" not in complaint


def test_a_run_without_wandb_says_how_to_train_with_it(report, run_dir):
    _change_settings(run_dir, wandb={"enable": False})
    assert "train with --wandb.enable=true" in report("--wandb=true")


def _change_settings(run_dir: Path, **changes: object) -> None:
    path = run_dir / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
