"""LeRobot's own commands, as installed, find and run the policy and the environment with no further flag."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import draccus
import pytest
import torch
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from safetensors.torch import load_file


def lerobot(program: str, *arguments: str) -> subprocess.CompletedProcess:
    path = Path(sys.executable).parent / program
    return subprocess.run([path, *arguments], capture_output=True, text=True)


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
    record = lerobot(
        "qwenvla-record", f"--output={folder / 'recordings'}", "--episodes=2", "--first_seed=3", "--canvas=64"
    )
    assert record.returncode == 0, record.stderr
    convert = lerobot(
        "recordings-to-lerobot", "convert", f"--input={folder / 'recordings'}", "--repo_id=tests/play",
        f"--root={folder / 'dataset'}",
    )  # fmt: skip
    assert convert.returncode == 0, convert.stderr
    return LeRobotDataset("tests/play", root=folder / "dataset", video_backend="pyav")


def test_record_convert_train_and_evaluate(recorded_dataset, backbone_dir, tmp_path):
    train = lerobot("lerobot-train", *train_arguments(backbone_dir, recorded_dataset, tmp_path / "train"))
    assert train.returncode == 0, train.stderr
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


def test_unknown_task_is_refused_before_training(recorded_dataset, backbone_dir, tmp_path):
    run = lerobot(
        "lerobot-train", *train_arguments(backbone_dir, recorded_dataset, tmp_path / "train"),
        "--env.type=miniworld", "--env.task=NoSuchRoom", "--env_eval_freq=100",
    )  # fmt: skip
    assert run.returncode != 0
    assert "ValueError" in run.stderr.splitlines()[-1] and "OneRoom" in run.stderr.splitlines()[-1]
    assert not (tmp_path / "train").exists()


def test_training_on_features_goes_on_from_a_checkpoint(feature_dataset, backbone_dir, tmp_path):
    settings = ["--policy.vlm_layer=4", "--policy.quantization=none", "--policy.dtype=float32"]
    arguments = train_arguments(backbone_dir, feature_dataset, tmp_path / "train")
    train = lerobot("lerobot-train", *arguments, *settings, "--save_freq=1")
    assert train.returncode == 0, train.stderr
    first, last = (tmp_path / "train" / "checkpoints" / name for name in ("000001", "000002"))
    uninterrupted = load_file(last / "pretrained_model" / "model.safetensors")
    shutil.rmtree(last)
    config = first / "pretrained_model" / "train_config.json"
    resume = lerobot("lerobot-train", f"--config_path={config}", "--resume=true")
    assert resume.returncode == 0, resume.stderr
    assert json.loads((last / "training_state" / "training_step.json").read_text())["step"] == 2
    # LeRobot's data loader draws a number more in a resumed run, so the noise of the second step differs.
    resumed = load_file(last / "pretrained_model" / "model.safetensors")
    torch.testing.assert_close(resumed, uninterrupted, atol=1e-3, rtol=0)


@pytest.mark.parametrize("config", ["demo.yaml", "rtx3090.yaml"])
def test_training_configs_are_ones_lerobot_reads(config):
    with draccus.config_type("yaml"):
        training = draccus.parse(TrainPipelineConfig, f"configs/{config}", args=[])
    assert training.policy.type == "qwenvla"
    assert training.policy.push_to_hub is False
    assert training.policy.n_action_steps < training.policy.chunk_size
