"""Frozen features of a dataset's frames, computed once and read by row.

A feature dataset is a LeRobotDataset whose cameras were replaced: instead of the video `observation.images.screen` it
has an int64 column `observation.features.screen`, which points into `features/observation.images.screen.npy`
(frames, tokens, width). LeRobot's own delta timestamps thus choose the frames of a sample, and no video is decoded.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from lerobot.utils.constants import OBS_IMAGES, OBS_PREFIX

if TYPE_CHECKING:
    from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata

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
        ValueError: The dataset declares features whose file is missing or has another length.
    """

    def __init__(self, dataset: "LeRobotDatasetMetadata") -> None:
        self._tables: dict[str, np.ndarray] = {}
        for column in dataset.features:
            if camera := camera_of_column(column):
                path = Path(dataset.root) / FEATURES_DIR / f"{camera}.npy"
                if not path.is_file():
                    raise ValueError(f"{path}: missing; run qwenvla-cache-features again")
                table = np.load(path, mmap_mode="r")  # (frames, tokens, width)
                if len(table) != dataset.total_frames:
                    raise ValueError(
                        f"{path}: features of {len(table)} frames for a dataset of {dataset.total_frames}; "
                        "run qwenvla-cache-features again"
                    )
                self._tables[column] = table

    def __bool__(self) -> bool:
        return bool(self._tables)

    def read(self, column: str, rows: torch.Tensor) -> torch.Tensor:
        """Features of the pointed-to frames.  # (B, F) → (B, F, T, D) float32 on the device of `rows`"""
        features = self._tables[column][rows.cpu().numpy()]
        return torch.from_numpy(features).to(rows.device, torch.float32)
