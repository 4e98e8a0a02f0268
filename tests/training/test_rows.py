"""Batches read at once are the batches that LeRobot makes of its samples."""

import numpy as np
import pytest
import torch
from lerobot.datasets.dataset_tools import add_features
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from torch.utils.data import DataLoader, Subset, default_collate

from lerobot_qwenvla.training.rows import Rows, batchwise

OFFSETS_S = {"action": [step / 10 for step in range(6)], "observation.state": [-0.4, -0.2, 0.0]}


def reopened(dataset: LeRobotDataset, **settings) -> LeRobotDataset:
    return LeRobotDataset(dataset.repo_id, root=dataset.root, delta_timestamps=OFFSETS_S, **settings)


def assert_equal(batch: dict, expected: dict) -> None:
    assert batch.keys() == expected.keys()
    for key, values in expected.items():
        if isinstance(values, torch.Tensor):
            torch.testing.assert_close(batch[key], values, rtol=0, atol=0, msg=key)  # and of the same type
        else:
            assert batch[key] == values, key


@pytest.mark.parametrize("episodes", [None, [1, 3]])
def test_a_batch_is_that_of_lerobots_samples(dataset, episodes):
    samples = reopened(dataset, episodes=episodes)
    rows = np.random.default_rng(0).permutation(len(samples)).tolist()  # also those at both ends of each episode
    assert_equal(Rows.of(samples).__getitems__(rows), default_collate([samples[row] for row in rows]))


def test_without_offsets_there_are_no_windows(dataset):
    samples = LeRobotDataset(dataset.repo_id, root=dataset.root)
    assert_equal(Rows.of(samples).__getitems__([9, 2]), default_collate([samples[9], samples[2]]))


def test_a_loader_gives_the_same_batches_in_the_same_order(dataset):
    samples = reopened(dataset)

    def loader() -> DataLoader:
        return DataLoader(samples, 5, shuffle=True, generator=torch.Generator().manual_seed(0))

    at_once = list(batchwise(loader()))
    assert len(at_once) == -(-len(samples) // 5)
    for batch, expected in zip(at_once, loader(), strict=True):
        assert_equal(batch, expected)


def test_what_has_more_than_numbers_is_left_to_lerobot(pictures, dataset):
    for samples in (pictures, Subset(dataset, [0, 1]), list(range(4))):
        loader = DataLoader(samples, 2)
        assert batchwise(loader) is loader
    whole = DataLoader(reopened(dataset), batch_size=None)
    assert batchwise(whole) is whole


def test_a_column_of_words_is_left_to_lerobot(dataset, tmp_path):
    words = np.array([["near"]] * len(dataset))
    described = add_features(
        dataset, {"note": (words, {"dtype": "string", "shape": (1,), "names": None})}, output_dir=tmp_path / "notes"
    )
    assert Rows.of(described) is None
