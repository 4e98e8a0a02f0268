"""A small dataset that leaves episodes for validation, and training commands on it in processes of their own.

The processes are forks of one that has imported LeRobot, which takes longer than all they do.
"""

import multiprocessing
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_qwenvla.features.precompute import precompute_features

MODULES = {
    "lerobot-train": "lerobot.scripts.lerobot_train",
    "qwenvla-train": "lerobot_qwenvla.training.train",
}
IMAGE_PX = 64
NAMES = ["mouse.x", "mouse.y", "button.left", "key.w"]


@pytest.fixture(scope="session")
def dataset(make_settings: Callable, tmp_path_factory: pytest.TempPathFactory) -> LeRobotDataset:
    """Features of four episodes of eight frames with one instruction; a quarter of them is one to validate with."""
    folder = tmp_path_factory.mktemp("training")
    vector = {"dtype": "float32", "shape": (len(NAMES),), "names": NAMES}
    screen = {"dtype": "video", "shape": (IMAGE_PX, IMAGE_PX, 3), "names": ["height", "width", "channels"]}
    features = {"observation.images.screen": screen, "observation.state": vector, "action": vector}
    pictures = LeRobotDataset.create("tests/training", fps=10, features=features, root=folder / "pictures")
    rng = np.random.default_rng(0)
    for _ in range(4):
        for _ in range(8):
            state, action = rng.uniform(-1, 1, (2, len(NAMES))).astype(np.float32)
            picture = np.full((IMAGE_PX, IMAGE_PX, 3), rng.integers(256), np.uint8)
            pictures.add_frame(
                {"observation.images.screen": picture, "observation.state": state, "action": action, "task": "go"}
            )
        pictures.save_episode()
    pictures.finalize()
    pictures = LeRobotDataset("tests/training", root=folder / "pictures", video_backend="pyav")
    return precompute_features(pictures, make_settings(), [-4, -2, 0], folder / "features", device="cpu")


@pytest.fixture(scope="session")
def train_arguments(dataset: LeRobotDataset, backbone_dir: Path) -> Callable[..., list[str]]:
    """Arguments of a training run; its 24 frames are six batches, and steps and validation have no smaller ones."""

    def arguments(output_dir: Path, **settings: object) -> list[str]:
        values = {
            "policy.type": "qwenvla", "policy.backbone": backbone_dir, "policy.vlm_layer": 4, "policy.image_size": 64,
            "policy.quantization": "none", "policy.dtype": "float32", "policy.chunk_size": 4,
            "policy.n_action_steps": 4, "policy.expert_layers": 2, "policy.expert_width": 64,
            "policy.expert_heads": 4, "policy.device": "cpu", "policy.push_to_hub": "false",
            "policy.optimizer_lr": 1e-3, "policy.scheduler_warmup_steps": 1, "policy.state_dropout": 0.5,
            "dataset.repo_id": dataset.repo_id, "dataset.root": dataset.root, "dataset.eval_split": 0.25,
            "num_workers": 0, "batch_size": 4, "steps": 12, "save_freq": 4, "eval_steps": 4, "log_freq": 1,
            "output_dir": output_dir,
        }  # fmt: skip
        return [f"--{name}={value}" for name, value in {**values, **settings}.items()]

    return arguments


@dataclass(frozen=True)
class Running:
    process: BaseProcess
    log: Path

    def wait(self) -> str:
        """Its log, when it has ended well."""
        self.process.join(60)
        text = self.log.read_text(errors="replace")
        assert self.process.exitcode == 0, text
        return text

    def has_logged(self, text: str) -> bool:
        return self.log.exists() and text in self.log.read_text(errors="replace")


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Running]:
    """Starts a command: its words, and what its environment has besides this one's."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(MODULES.values()))
    folder = tmp_path_factory.mktemp("logs")
    script = str(Path(__file__).with_name("forked_command.py"))

    def start(*command: str, environment: dict[str, str] | None = None) -> Running:
        log = folder / f"{len(list(folder.iterdir()))}.log"
        log.touch()
        given = {
            "MODULE": MODULES[command[0]], "COMMAND": list(command), "LOG": str(log), "ENVIRONMENT": environment or {}
        }  # fmt: skip
        process = context.Process(target=runpy.run_path, args=(script, given))
        process.start()
        return Running(process, log)

    return start
