"""A small dataset that leaves episodes for validation, and training commands on it in processes of their own."""

import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lerobot.configs.video import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_qwenvla.features.precompute import precompute_features
from tests.forks import Running

IMAGE_PX = 64
NAMES = ["mouse.x", "mouse.y", "button.left", "key.w"]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> LeRobotDataset:
    """Four episodes of eight frames with one instruction; a quarter of them is one to validate with."""
    folder = tmp_path_factory.mktemp("training")
    vector = {"dtype": "float32", "shape": (len(NAMES),), "names": NAMES}
    screen = {"dtype": "video", "shape": (IMAGE_PX, IMAGE_PX, 3), "names": ["height", "width", "channels"]}
    features = {"observation.images.screen": screen, "observation.state": vector, "action": vector}
    encoder = RGBEncoderConfig(vcodec="h264")
    root = folder / "pictures"
    written = LeRobotDataset.create("tests/training", fps=10, features=features, root=root, rgb_encoder=encoder)
    rng = np.random.default_rng(0)
    for _ in range(4):
        for _ in range(8):
            state, action = rng.uniform(-1, 1, (2, len(NAMES))).astype(np.float32)
            picture = np.full((IMAGE_PX, IMAGE_PX, 3), rng.integers(256), np.uint8)
            written.add_frame(
                {"observation.images.screen": picture, "observation.state": state, "action": action, "task": "go"}
            )
        written.save_episode()
    written.finalize()
    return LeRobotDataset("tests/training", root=root, video_backend="pyav")


@pytest.fixture(scope="session")
def dataset(pictures: LeRobotDataset, make_settings: Callable) -> LeRobotDataset:
    """Features of them."""
    return precompute_features(
        pictures, make_settings(), [-4, -2, 0], pictures.root.with_name("features"), device="cpu"
    )


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
            "dataset.video_backend": "pyav",
            "num_workers": 0, "batch_size": 4, "steps": 12, "save_freq": 4, "eval_steps": 4, "log_freq": 1,
            "output_dir": output_dir,
        }  # fmt: skip
        return [f"--{name}={value}" for name, value in {**values, **settings}.items()]

    return arguments


@pytest.fixture(scope="session")
def start(forks, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Running]:
    """Starts a command: its words, and what its environment has besides this one's."""
    folder = tmp_path_factory.mktemp("logs")

    def start(*command: str, environment: dict[str, str] | None = None) -> Running:
        log = folder / f"{len(list(folder.iterdir()))}.log"
        return forks.start(list(command), log, environment)

    return start


@pytest.fixture(scope="session")
def start_two(start: Callable[..., Running]) -> Callable[..., Running]:
    """Starts a command in two processes that know of each other as torchrun tells them; the first one speaks."""

    def start_two(*command: str) -> Running:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
        first, _ = (start(*command, environment=shared | rank) for rank in ranks)
        return first

    return start_two
