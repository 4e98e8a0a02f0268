"""Small real parts that the policy tests are built from.

torch and LeRobot are imported by the fixtures that need them: most tests of recordings, devices and Miniworld do not.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
# Several test processes share the cores; threads of each on top of that get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from tests.forks import Forks

# How long an example takes says how busy the machine is.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    from lerobot_qwenvla import QwenVLAConfig
    from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy

IMAGE_PX = 64
CHANNELS = 5
PRIORITY = (os.sched_getscheduler(0), os.sched_getparam(0)) if sys.platform == "linux" else ()


@pytest.fixture(autouse=True)
def ordinary_priority() -> Iterator[None]:
    """SVT-AV1 turns root's thread that opens it, and all that this starts, into real-time ones: the rest starves."""
    yield
    if sys.platform == "linux":
        os.sched_setscheduler(0, *PRIORITY)


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with contextlib.closing(Forks()) as forks:
        yield forks


@pytest.fixture(scope="session")
def backbone_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lerobot_qwenvla.backbone.tiny import make_tiny_backbone

    return make_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny", width=64)


@pytest.fixture(scope="session")
def make_config(backbone_dir: Path) -> Callable[..., "QwenVLAConfig"]:
    from lerobot_qwenvla import QwenVLAConfig

    def make(**overrides) -> QwenVLAConfig:
        small = {
            "backbone": str(backbone_dir),
            "vlm_layer": 4,
            "quantization": "none",
            "dtype": "float32",
            "image_size": IMAGE_PX,
            "chunk_size": 6,
            "n_action_steps": 2,
            "expert_layers": 2,
            "expert_width": 64,
            "expert_heads": 4,
            "device": "cpu",
            "push_to_hub": False,
        }
        return QwenVLAConfig(**{**small, **overrides})

    return make


@pytest.fixture(scope="session")
def make_settings(backbone_dir: Path) -> Callable:
    """Settings of the small backbone."""
    from lerobot_qwenvla.backbone import BackboneSettings

    def make(**overrides) -> BackboneSettings:
        small = {"backbone": str(backbone_dir), "vlm_layer": 4, "quantization": "none", "dtype": "float32"}
        return BackboneSettings(**{**small, "image_size": IMAGE_PX, **overrides})

    return make


@pytest.fixture(scope="session")
def pixel_dataset(tmp_path_factory: pytest.TempPathFactory) -> "LeRobotDataset":
    """Three episodes of nine frames; the last channel never moves, like a key that was never pressed."""
    from lerobot.configs.video import RGBEncoderConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = tmp_path_factory.mktemp("data") / "pixels"
    vector = {"dtype": "float32", "shape": (CHANNELS,), "names": [f"channel.{i}" for i in range(CHANNELS)]}
    screen = {"dtype": "video", "shape": (IMAGE_PX, IMAGE_PX, 3), "names": ["height", "width", "channels"]}
    features = {"observation.images.screen": screen, "observation.state": vector, "action": vector}
    encoder = RGBEncoderConfig(vcodec="h264")
    dataset = LeRobotDataset.create("tests/pixels", fps=10, features=features, root=root, rgb_encoder=encoder)
    rng = np.random.default_rng(0)
    for episode in range(3):
        for _ in range(9):
            blocks = rng.integers(0, 255, (IMAGE_PX // 16, IMAGE_PX // 16, 3), dtype=np.uint8)
            numbers = rng.uniform(-1, 1, (2, CHANNELS)).astype(np.float32)
            numbers[:, -1] = 0.0
            dataset.add_frame(
                {
                    "observation.images.screen": blocks.repeat(16, axis=0).repeat(16, axis=1),
                    "observation.state": numbers[0],
                    "action": numbers[1],
                    "task": f"go to box {episode}",
                }
            )
        dataset.save_episode()
    dataset.finalize()
    return LeRobotDataset("tests/pixels", root=root, video_backend="pyav")


@pytest.fixture(scope="session")
def feature_dataset(
    pixel_dataset: "LeRobotDataset", make_settings: Callable, tmp_path_factory: pytest.TempPathFactory
) -> "LeRobotDataset":
    from lerobot_qwenvla.features.precompute import precompute_features

    root = tmp_path_factory.mktemp("data") / "features"
    return precompute_features(pixel_dataset, make_settings(), [-4, -2, 0], root, device="cpu")


@pytest.fixture(scope="session")
def make_trainee(make_config: Callable[..., "QwenVLAConfig"]) -> Callable[..., "QwenVLAPolicy"]:
    """A policy built as lerobot-train builds it, with weights under which every input matters."""
    import torch
    from lerobot.policies.factory import make_policy

    def make(dataset: "LeRobotDataset", **overrides) -> "QwenVLAPolicy":
        torch.manual_seed(0)
        policy = make_policy(make_config(**overrides), ds_meta=dataset.meta)
        for name, parameter in policy.model.expert.named_parameters():
            if "modulation" in name:  # zero at first: a fresh layer is the identity
                torch.nn.init.normal_(parameter, std=0.1)
        return policy

    return make


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., dict]:
    """A preprocessed training batch of the given rows of a dataset."""
    from lerobot.datasets.factory import resolve_delta_timestamps
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.policies.factory import make_pre_post_processors
    from torch.utils.data import default_collate

    def make(dataset: LeRobotDataset, policy: "QwenVLAPolicy", rows: list[int]) -> dict:
        timed = LeRobotDataset(
            dataset.repo_id,
            root=dataset.root,
            delta_timestamps=resolve_delta_timestamps(policy.config, dataset.meta),
            video_backend="pyav",
        )
        preprocessor, _ = make_pre_post_processors(policy.config, dataset_stats=dataset.meta.stats)
        return preprocessor(default_collate([timed[row] for row in rows]))

    return make


@pytest.fixture(scope="session")
def checkpoint(make_trainee, pixel_dataset, tmp_path_factory) -> Path:
    """A small checkpoint, as lerobot-train writes it."""
    from lerobot.policies.factory import make_pre_post_processors

    folder = tmp_path_factory.mktemp("policy") / "checkpoint"
    policy = make_trainee(pixel_dataset)
    policy.save_pretrained(folder)
    for processor in make_pre_post_processors(policy.config, dataset_stats=pixel_dataset.meta.stats):
        processor.save_pretrained(folder)
    return folder
