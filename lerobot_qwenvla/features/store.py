"""Frozen features of a dataset's frames, computed once and read by row.

A feature dataset is a LeRobotDataset whose cameras were replaced: instead of the video `observation.images.screen` it
has an int64 column `observation.features.screen`, which points into `features/observation.images.screen.npy`
(frames, tokens, width). LeRobot's own delta timestamps thus choose the frames of a sample, and no video is decoded.
Where frames are encoded together (`joint`), a row has the features of all the frames of its decision.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lerobot.utils.constants import OBS_IMAGES, OBS_PREFIX

if TYPE_CHECKING:
    from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata

    from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

COLUMN_PREFIX = f"{OBS_PREFIX}features."
FEATURES_DIR = "features"


def column_of_camera(camera: str) -> str:
    """`observation.images.screen` → `observation.features.screen`."""
    return COLUMN_PREFIX + camera.removeprefix(f"{OBS_IMAGES}.")


def camera_of_column(column: str) -> str | None:
    """`observation.features.screen` → `observation.images.screen`; None for any other column."""
    return f"{OBS_IMAGES}.{column.removeprefix(COLUMN_PREFIX)}" if column.startswith(COLUMN_PREFIX) else None


class FeatureStore:
    """Reads features of a feature dataset from disk, memory-mapped.

    Raises:
        ValueError: The dataset declares features whose file is missing or has another length, or the policy is to be
            trained with instructions hidden, which its features have read.
    """

    def __init__(self, dataset: "LeRobotDatasetMetadata", config: "QwenVLAConfig") -> None:
        self._joint = config.frame_encoding == "joint"
        self._tables: dict[str, np.ndarray] = {}  # per camera (frames, tokens, width), or (frames, F, tokens, width)
        for column in dataset.features:
            if camera := camera_of_column(column):
                path = Path(dataset.root) / FEATURES_DIR / f"{camera}.npy"
                if not path.is_file():
                    raise ValueError(f"{path}: missing; run qwenvla-cache-features again")
                table = np.load(path, mmap_mode="r")
                if len(table) != dataset.total_frames:
                    raise ValueError(
                        f"{path}: features of {len(table)} frames for a dataset of {dataset.total_frames}; "
                        "run qwenvla-cache-features again"
                    )
                self._tables[camera] = table
        if self._tables and config.instruction_dropout:
            raise ValueError(
                f"--policy.instruction_dropout={config.instruction_dropout} hides instructions that precomputed "
                "features have already read; train on the pictures, or set it to 0"
            )

    def __bool__(self) -> bool:
        return bool(self._tables)

    def read(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Features of the frames that a batch's columns (B, F) point to.  # per camera (B, F, T, D) float32"""
        features = {}
        for camera, table in self._tables.items():
            rows = batch[column_of_camera(camera)]  # (B, F)
            rows = rows[:, -1] if self._joint else rows  # a row has all its frames' features
            features[camera] = torch.from_numpy(table[rows.cpu().numpy()]).to(rows.device, torch.float32)
        return features
