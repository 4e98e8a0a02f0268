"""LeRobot's own commands, as installed, find and run the policy and the environment with no further flag.

Two run as processes of their own, which have nothing of ours but what LeRobot finds; the others run here, as each
process would import LeRobot once more, for many seconds.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import draccus
import pytest
import torch
from accelerate.state import AcceleratorState
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.scripts import lerobot_train
from safetensors.torch import load_file

from lerobot_qwenvla.recorder import cli as recorder
from recordings_to_lerobot import cli as converter


def lerobot(program: str, *arguments: str) -> subprocess.CompletedProcess:
    path = Path(sys.executable).parent / program
    return subprocess.run([path, *arguments], capture_output=True, text=True)


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """lerobot-train in this process."""

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["lerobot-train", *arguments])
        AcceleratorState._reset_state(reset_partial_state=True)  # of another run in this process
        lerobot_train.main()

    return run


def train_arguments(backbone_dir: Path, dataset: LeRobotDataset, output_dir: Path) -> list[str]:
    return [
        "--policy.type=qwenvla", f"--policy.backbone={backbone_dir}", "--policy.vlm_layer=2",
        "--policy.image_size=64", "--policy.chunk_size=4", "--policy.n_action_steps=4", "--policy.expert_layers=2",
        "--policy.expert_width=64", "--policy.expert_heads=4", "--policy.device=cpu", "--policy.push_to_hub=false",
        f"--dataset.repo_id={dataset.repo_id}", f"--dataset.root={dataset.root}", "--dataset.video_backend=pyav",
        f"--output_dir={output_dir}", "--batch_size=4", "--num_workers=0", "--steps=2", "--log_freq=1",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def recorded_dataset(tmp_path_factory) -> LeRobotDataset:
    """Two short recordings of the scripted player, converted; made with the project's own commands."""
    folder = tmp_path_factory.mktemp("play")
    recordings, root = folder / "recordings", folder / "dataset"
    assert recorder.main([f"--output={recordings}", "--episodes=2", "--first_seed=3", "--canvas=64"]) == 0
    assert converter.main(["convert", f"--input={recordings}", "--repo_id=tests/play", f"--root={root}"]) == 0
    return LeRobotDataset("tests/play", root=root, video_backend="pyav")


def test_record_convert_train_and_evaluate(recorded_dataset, backbone_dir, tmp_path):
    trained = lerobot("lerobot-train", *train_arguments(backbone_dir, recorded_dataset, tmp_path / "train"))
    assert trained.returncode == 0, trained.stderr
    checkpoint = tmp_path / "train" / "checkpoints" / "last" / "pretrained_model"
    assert not any("backbone" in name for name in load_file(checkpoint / "model.safetensors"))
    evaluate = lerobot(
        "lerobot-eval", f"--policy.path={checkpoint}", "--env.type=miniworld", "--env.task=OneRoom",
        "--env.canvas_w=64", "--env.canvas_h=64", "--env.episode_length=9", "--eval.n_episodes=2",
        "--eval.batch_size=2", f"--output_dir={tmp_path / 'eval'}",
    )  # fmt: skip
    assert evaluate.returncode == 0, evaluate.stderr
    info = json.loads((tmp_path / "eval" / "eval_info.json").read_text())
    assert info["overall"]["n_episodes"] == 2
    assert all(Path(video).stat().st_size > 1000 for video in info["overall"]["video_paths"])


def test_unknown_task_is_refused_before_training(recorded_dataset, backbone_dir, tmp_path, train):
    with pytest.raises(ValueError, match="OneRoom"):
        train(
            *train_arguments(backbone_dir, recorded_dataset, tmp_path / "train"),
            "--env.type=miniworld", "--env.task=NoSuchRoom", "--env_eval_freq=100",
        )  # fmt: skip
    assert not (tmp_path / "train").exists()


def test_training_on_features_goes_on_from_a_checkpoint(feature_dataset, backbone_dir, tmp_path, train):
    settings = ["--policy.vlm_layer=4", "--policy.quantization=none", "--policy.dtype=float32", "--save_freq=1"]
    train(*train_arguments(backbone_dir, feature_dataset, tmp_path / "train"), *settings)
    first, last = (tmp_path / "train" / "checkpoints" / name for name in ("000001", "000002"))
    uninterrupted = load_file(last / "pretrained_model" / "model.safetensors")
    shutil.rmtree(last)
    train(f"--config_path={first / 'pretrained_model' / 'train_config.json'}", "--resume=true")
    assert json.loads((last / "training_state" / "training_step.json").read_text())["step"] == 2
    resumed = load_file(last / "pretrained_model" / "model.safetensors")
    torch.testing.assert_close(resumed, uninterrupted, atol=0, rtol=0)


@pytest.mark.parametrize("config", ["demo.yaml", "rtx3090.yaml"])
def test_training_configs_are_ones_lerobot_reads(config):
    with draccus.config_type("yaml"):
        training = draccus.parse(TrainPipelineConfig, f"configs/{config}", args=[])
    assert training.policy.type == "qwenvla"
    assert training.policy.push_to_hub is False
    assert training.policy.n_action_steps < training.policy.chunk_size
