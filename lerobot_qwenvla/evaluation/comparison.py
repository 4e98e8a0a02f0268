"""A policy beside what needs no policy, and beside itself when it is told something else."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lerobot_qwenvla.evaluation.decisions import Chunks, Decisions
from lerobot_qwenvla.evaluation.metrics import binary_channels, measure

POLICY, SHUFFLED, COPY_LAST, MEAN = "policy", "other instruction", "copy last", "mean"
WINDOWS = ("executed", "chunk")


def players(decisions: Decisions, mean: np.ndarray) -> dict[str, np.ndarray]:
    """Chunks of the policy and of the baselines: repeating what was done last, and the mean action (A,).

    Returns:
        By name (N, T, A).
    """
    shape = decisions.true.shape
    return {
        **decisions.predicted,
        COPY_LAST: np.broadcast_to(decisions.last[:, None], shape),
        MEAN: np.broadcast_to(mean.astype(np.float32), shape),
    }


def windows(decisions: Decisions, predicted: np.ndarray, n_action_steps: int) -> dict[str, Chunks]:
    """What is measured of chunks (N, T, A): what would be executed of them, and all."""
    chunks = decisions.executed(predicted, n_action_steps), decisions.whole(predicted)
    return dict(zip(WINDOWS, chunks, strict=True))


def compare(
    decisions: Decisions,
    mean: np.ndarray,
    *,
    names: Sequence[str],
    n_action_steps: int,
    fps: float,
    normalize: Callable[[np.ndarray], np.ndarray],
) -> dict[str, dict[str, Any]]:
    """What `measure` says of every player in both windows, as `result[player][window]`."""
    is_binary = binary_channels(names, decisions.true[~decisions.is_pad])
    return {
        player: {
            window: measure(*chunks, names=names, is_binary=is_binary, fps=fps, normalize=normalize)
            for window, chunks in windows(decisions, predicted, n_action_steps).items()
        }
        for player, predicted in players(decisions, mean).items()
    }
