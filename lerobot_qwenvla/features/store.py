"""Precomputed features of a dataset's frames, read by the rows its columns point to (see `columns.py`)."""

import logging
from pathlib import Path
from typing import Self

import torch
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from safetensors.torch import load_file
from torch import Tensor

from lerobot_qwenvla.backbone.prefix_cache import pad_words
from lerobot_qwenvla.features.columns import feature_columns
from lerobot_qwenvla.features.table import FeatureTable, RowLayout

logger = logging.getLogger(__name__)

FEATURES_DIR = "features"
UNCOND = ".uncond"  # ends the name of a table of frames that were read without instruction
WORDS_FILE = "words.safetensors"  # by instruction (L, D)

# Tables move to a GPU if they fit this share of what is free there once training has taken its own: after two steps
# weights, gradients, the optimizer's averages and the most that a step needs besides are accounted for.
GPU_SHARE = 0.5
STEPS_BEFORE_MOVING = 2


class FeatureStore:
    """Tables of the features of a dataset, one a camera."""

    def __init__(
        self,
        tables: dict[str, FeatureTable],
        uncond: dict[str, FeatureTable],
        words: dict[str, Tensor],
        *,
        is_joint: bool,
    ) -> None:
        """Tables by camera.

        Args:
            tables: Frames read behind their instructions.
            uncond: The same frames read without, if they were computed.
            words: By instruction (L, D).
            is_joint: A row has the features of all the frames of its decision.
        """
        self._tables, self._uncond, self._words, self._is_joint = tables, uncond, words, is_joint
        self._reads = 0

    @classmethod
    def of_dataset(cls, dataset: LeRobotDatasetMetadata, frame_encoding: str) -> Self | None:
        """Opens the tables of a dataset; None where it has pictures.

        Raises:
            ValueError: A table is missing, incomplete, of another length than the dataset, or of another version.
        """
        folder = Path(dataset.root) / FEATURES_DIR
        columns = feature_columns(dataset.features)

        def tables_of(suffix: str) -> dict[str, FeatureTable]:
            return {
                camera: FeatureTable(folder / f"{camera}{suffix}", RowLayout.from_info(info), dataset.total_frames)
                for camera, info in columns.items()
            }

        tables = tables_of("")
        if not tables:
            return None
        if not (words := folder / WORDS_FILE).exists():
            raise ValueError(f"{words}: missing; run qwenvla-precompute-features again")
        uncond = tables_of(UNCOND) if all(info.get("uncond") for info in columns.values()) else {}
        return cls(tables, uncond, load_file(words), is_joint=frame_encoding == "joint")

    @property
    def has_uncond(self) -> bool:
        """Whether the frames were also read without instruction."""
        return bool(self._uncond)

    @property
    def longest_instruction(self) -> str:
        """Of the dataset's, the one of the most tokens."""
        return max(self._words, key=lambda text: len(self._words[text]))

    def read(self, rows: dict[str, Tensor], hidden: Tensor | None = None) -> dict[str, Tensor]:
        """Features of the frames of B samples, on their device and in the type they were computed in.

        Args:
            rows: Per camera (B, F), what the dataset's columns point to.
            hidden: (B,) bool, of which the instruction is hidden.

        Returns:
            Per camera (B, F, T, D).
        """
        if self._reads == STEPS_BEFORE_MOVING:
            self._move_what_fits(next(iter(rows.values())).device)
        self._reads += 1
        rows = {camera: of[:, -1] if self._is_joint else of for camera, of in rows.items()}
        features = {camera: self._tables[camera].read(of) for camera, of in rows.items()}
        if hidden is not None and hidden.any():
            for camera, of in rows.items():
                features[camera][hidden] = self._uncond[camera].read(of[hidden.to(of.device)])
        return features

    def words(self, instructions: list[str], device: torch.device) -> Tensor:
        """Features of the words of B instructions, see `pad_words`.  # (B, L, D)

        Raises:
            ValueError: One of them is not of the dataset.
        """
        if unknown := [text for text in instructions if text not in self._words]:
            raise ValueError(f"the feature dataset has no instruction {unknown[0]!r}; train on the pictures")
        return pad_words([self._words[text] for text in instructions]).to(device, non_blocking=True)

    def _move_what_fits(self, device: torch.device) -> None:
        if device.type != "cuda":
            return
        for camera, table in (*self._tables.items(), *self._uncond.items()):
            free, _ = torch.cuda.mem_get_info(device)
            fits = table.nbytes <= GPU_SHARE * free
            logger.info(
                "%s: features of %.1f GB %s (%.1f GB free)",
                camera, table.nbytes / 1e9, "move to the GPU" if fits else "stay on the disk", free / 1e9,
            )  # fmt: skip
            if fits:
                table.to(device)
