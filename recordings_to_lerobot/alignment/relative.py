"""Movements of a captured mouse: counts of the device, and the scale that brings them to [-1, 1]."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from recordings_to_lerobot.actions.channels import MOUSE_DELTA_CHANNELS
from recordings_to_lerobot.alignment.labels import Labels

# Of the rows with movement so many lie within the scale; a flick beyond it is clipped, and counted.
SCALE_QUANTILE = 0.999

_N_MOUSE = len(MOUSE_DELTA_CHANNELS)


def largest_moves(labels: Labels) -> np.ndarray:
    """Of every row in which the mouse moves the way along the axis of most, of labels in counts.  # (M,) float32"""
    moves = np.abs(labels.action[:, :_N_MOUSE]).max(axis=1)
    return moves[moves > 0]


def measured_scale(moves: Iterable[np.ndarray]) -> float:
    """The counts that make 1, from the `largest_moves` of all episodes; 1 if the mouse never moves."""
    counts = np.concatenate([np.empty(0, dtype=np.float32), *moves])
    return float(np.quantile(counts, SCALE_QUANTILE, method="higher")) if len(counts) else 1.0


def scaled(labels: Labels, scale: float) -> Labels:
    """Labels in counts → in shares of `scale` counts, clipped to [-1, 1]."""
    state, action = labels.state.copy(), labels.action.copy()
    for values in (state, action):
        # In float64, so that the result is the nearest float32.
        values[:, :_N_MOUSE] = np.clip(values[:, :_N_MOUSE].astype(np.float64) / scale, -1, 1)
    return replace(labels, state=state, action=action)
