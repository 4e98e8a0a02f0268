"""What a policy decides at the frames of a dataset where, when playing, it would look again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies import PreTrainedPolicy
from lerobot.processor import PolicyProcessorPipeline
from lerobot.utils.constants import ACTION, OBS_STATE
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm


class Chunks(NamedTuple):
    """Predicted and true actions (N, T, A), and which steps are not of an episode (N, T)."""

    predicted: np.ndarray
    true: np.ndarray
    is_pad: np.ndarray


@dataclass(frozen=True)
class Decisions:
    """N decisions.

    Attributes:
        episode, frame: Where they were made, N each.
        true: What was recorded.  # (N, T, A)
        is_pad: Which steps lie behind the end of their episode.  # (N, T)
        last: What was done last.  # (N, A)
        predicted: What the policy decided, by whose instructions it was told.  # (N, T, A) each
    """

    episode: np.ndarray
    frame: np.ndarray
    true: np.ndarray
    is_pad: np.ndarray
    last: np.ndarray
    predicted: dict[str, np.ndarray]

    def whole(self, predicted: np.ndarray) -> Chunks:
        """Chunks (N, T, A) as they were decided."""
        return Chunks(predicted, self.true, self.is_pad)

    def executed(self, predicted: np.ndarray, n_action_steps: int) -> Chunks:
        """The first actions of chunks (N, T, A), one after the other: a row (1, L, A) for each of E episodes.

        Returns:
            (E, L, A) and (E, L), L being the steps of the longest episode.
        """
        episodes, row = np.unique(self.episode, return_inverse=True)
        step = self.frame[:, None] + np.arange(n_action_steps)  # (N, n)
        is_real = ~self.is_pad[:, :n_action_steps]
        row, step = np.broadcast_to(row[:, None], step.shape)[is_real], step[is_real]
        shape = len(episodes), int(step.max()) + 1
        is_pad = np.ones(shape, dtype=bool)
        is_pad[row, step] = False
        rows = np.zeros((2, *shape, predicted.shape[2]), dtype=np.float32)
        for each, chunks in zip(rows, (predicted, self.true), strict=True):
            each[row, step] = chunks[:, :n_action_steps][is_real]
        return Chunks(*rows, is_pad)


def derangement(instructions: Sequence[str], seed: int) -> dict[str, str]:
    """Another one of two or more distinct instructions in the place of each."""
    order = list(instructions)
    random.Random(seed).shuffle(order)
    return dict(zip(order, order[1:] + order[:1], strict=True))  # each gets the next one of a circle


def decide(
    policy: PreTrainedPolicy,
    preprocessor: PolicyProcessorPipeline[dict[str, Any], dict[str, Any]],
    postprocessor: PolicyProcessorPipeline,
    dataset: LeRobotDataset,
    told: dict[str, dict[str, str]],
    *,
    seed: int,
    batch_size: int,
    num_workers: int = 0,
) -> Decisions:
    """Lets the policy decide at every `n_action_steps`-th frame of each episode.

    Args:
        policy: A qwenvla policy, or one with adapters around it.
        dataset: Of whole episodes, with the delta timestamps of the policy.
        told: Names of how the policy is told what to do, and of each other instructions in the place of given ones.
        seed: Of the noise, which is the same however the policy is told.
        batch_size: Decisions made at once.
        num_workers: Processes that decode pictures.
    """
    episode, frame = (_column(dataset, name) for name in ("episode_index", "frame_index"))
    config = policy.config
    rows = np.flatnonzero(frame % config.n_action_steps == 0)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(rows), config.chunk_size, *config.action_feature.shape, generator=generator)
    true, is_pad, predicted = [], [], {name: [] for name in told}
    loader = DataLoader(Subset(dataset, rows.tolist()), batch_size=batch_size, num_workers=num_workers)
    batches = tqdm(loader, "Deciding", unit="batch", leave=False)
    for batch, of_batch in zip(batches, noise.split(batch_size), strict=True):
        true.append(batch[ACTION].numpy())
        is_pad.append(batch[f"{ACTION}_is_pad"].numpy())
        for name, instead in told.items():
            told_batch = {**batch, "task": [instead.get(task, task) for task in batch["task"]]}
            chunk = policy.predict_action_chunk(preprocessor(told_batch), noise=of_batch.to(config.device))
            predicted[name].append(postprocessor(chunk).float().cpu().numpy())
    return Decisions(
        episode[rows],
        frame[rows],
        np.concatenate(true),
        np.concatenate(is_pad),
        _last(dataset, rows, frame),
        {name: np.concatenate(chunks) for name, chunks in predicted.items()},
    )


def _column(dataset: LeRobotDataset, name: str) -> np.ndarray:
    return np.asarray(dataset.hf_dataset.with_format("numpy")[name][:])


def _last(dataset: LeRobotDataset, rows: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The state where its channels are those of the action; else the action before, or an episode's first.  # (N, A)"""
    names = {key: dataset.features.get(key, {}).get("names") for key in (OBS_STATE, ACTION)}
    if names[ACTION] and names[OBS_STATE] == names[ACTION]:
        return _column(dataset, OBS_STATE)[rows]
    return _column(dataset, ACTION)[rows - (frame[rows] > 0)]
