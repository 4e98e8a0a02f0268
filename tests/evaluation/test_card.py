import json
import shutil
import sys

import pytest
from lerobot.configs import PreTrainedConfig
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig

from lerobot_qwenvla.evaluation import card as command


@pytest.fixture
def folder(checkpoint, pixel_dataset, tmp_path):
    """A checkpoint as lerobot-train leaves it, evaluated once."""
    copy = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    data = DatasetConfig("me/pixels", root=str(pixel_dataset.root), video_backend="pyav")
    TrainPipelineConfig(data, policy=PreTrainedConfig.from_pretrained(copy), steps=40, seed=7).save_pretrained(copy)
    (copy / "evaluation" / "OneRoom").mkdir(parents=True)
    evaluation = {"per_task": [{"metrics": {"successes": [True] * 9 + [False]}}]}
    (copy / "evaluation" / "OneRoom" / "eval_info.json").write_text(json.dumps(evaluation))
    return copy


@pytest.fixture
def run(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["qwenvla-card", *arguments])
        try:
            command.main()
        except SystemExit as exit_:
            return exit_.code

    return run


def test_card_has_the_results_that_lie_beside_the_checkpoint(run, folder):
    assert run(f"--checkpoint={folder}", "--repo_id=me/policy") is None
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "# me/policy" in text
    assert "| OneRoom | 90 % | 60–98 % | 10 |" in text
    assert "40 steps of 8 samples, seed 7." in text
    assert "3 episodes, 27 frames" in text


def test_card_of_a_dataset_that_is_gone_names_it(run, folder):
    path = folder / "train_config.json"
    path.write_text(path.read_text().replace(json.loads(path.read_text())["dataset"]["root"], "/no/such"))
    assert run(f"--checkpoint={folder}") is None
    assert "[me/pixels](https://huggingface.co/datasets/me/pixels)." in (folder / "README.md").read_text()


def test_what_is_no_checkpoint_or_no_result_is_one_line(run, folder, tmp_path):
    assert "train_config.json: missing; pass the pretrained_model folder" in run(f"--checkpoint={tmp_path}")
    (folder / "evaluation" / "OneRoom" / "eval_info.json").write_text("{")
    assert "not as lerobot-eval writes it" in run(f"--checkpoint={folder}")
    assert not (folder / "README.md").exists()
