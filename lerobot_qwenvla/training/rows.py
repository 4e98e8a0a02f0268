"""Rows of a dataset without pictures, read a batch at a time.

LeRobot reads sample after sample, with a query for each of its keys. Where features were computed beforehand there are
only numbers to read, and on two cores that takes twice as long as the training step of a small policy itself.
"""

from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from lerobot.datasets import LeRobotDataset
from lerobot.datasets.feature_utils import get_delta_indices
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    """The same samples as of a LeRobotDataset, as whole batches: to be loaded with a `collate_fn` that does nothing.

    All numbers are held in memory: about 250 bytes a frame with 27 actions and as many numbers of state.
    """

    def __init__(self, dataset: LeRobotDataset, columns: dict[str, Tensor]) -> None:
        """`columns` are those of the dataset, see `of`."""
        self._columns = columns
        offsets = get_delta_indices(dataset.delta_timestamps or {}, dataset.fps)
        self._offsets = {key: torch.tensor(of) for key, of in offsets.items()}
        self._tasks = dataset.meta.tasks.index
        episodes = dataset.meta.episodes
        self._first = torch.tensor(episodes["dataset_from_index"])  # by episode, as `index` counts
        self._last = torch.tensor(episodes["dataset_to_index"]) - 1

    @classmethod
    def of(cls, dataset: Dataset) -> Self | None:
        """Reads all rows; None where there is more than numbers to read, or it is no LeRobotDataset."""
        if not isinstance(dataset, LeRobotDataset) or dataset.meta.camera_keys:
            return None
        table = dataset.hf_dataset.with_format("arrow")[:]
        columns = {name: _numbers(table.column(name)) for name in table.column_names}
        return None if any(column is None for column in columns.values()) else cls(dataset, columns)

    def __len__(self) -> int:
        return len(self._columns["index"])

    def __getitems__(self, rows: list[int]) -> dict[str, Any]:
        """The batch that LeRobot's samples of these B rows make; F rows of an episode where a key has so many."""
        at = torch.tensor(rows)
        batch: dict[str, Any] = {name: column[at] for name, column in self._columns.items()}
        episode, index = batch["episode_index"], batch["index"]
        first, last = self._first[episode, None], self._last[episode, None]  # (B, 1)
        for key, offsets in self._offsets.items():
            wanted = index[:, None] + offsets  # (B, F)
            nearest = wanted.clamp(first, last)
            batch[key] = self._columns[key][at[:, None] + nearest - index[:, None]]
            batch[f"{key}_is_pad"] = wanted != nearest
        batch["task"] = self._tasks[batch["task_index"]].tolist()
        return batch


def batchwise(loader: DataLoader) -> DataLoader:
    """The same batches, read at once where the dataset allows it; no process besides is needed for that."""
    if loader.batch_size is None or (rows := Rows.of(loader.dataset)) is None:
        return loader
    return DataLoader(
        rows,
        batch_size=loader.batch_size,
        sampler=loader.sampler,
        collate_fn=_as_it_is,
        generator=loader.generator,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
    )


def _as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    return batch


def _numbers(column: pa.ChunkedArray) -> Tensor | None:
    """(N,) or (N, D) of a column of numbers, in the types LeRobot gives; None where it has anything else."""
    rows, is_list = column.combine_chunks(), pa.types.is_fixed_size_list(column.type)
    values = rows.flatten() if is_list else rows
    if column.null_count or values.null_count or not _is_number(values.type):
        return None
    numbers = torch.from_numpy(np.array(values.to_numpy(zero_copy_only=False)))
    if numbers.is_floating_point():
        numbers = numbers.to(torch.get_default_dtype())
    elif numbers.dtype != torch.bool:
        numbers = numbers.long()
    return numbers.view(len(rows), -1) if is_list else numbers


def _is_number(of: pa.DataType) -> bool:
    return any(test(of) for test in (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean))
