"""How far a predicted value tells how likely a channel is pressed, and from which value on to press it."""

from typing import NamedTuple

import numpy as np

BINS = 10


class Reliability(NamedTuple):
    """Per bin that is not empty: mean predicted value, share of steps that are really pressed, number of steps."""

    predicted: list[float]
    observed: list[float]
    steps: list[int]


def reliability(predicted: np.ndarray, pressed: np.ndarray, bins: int = BINS) -> Reliability:
    """Compares predicted values with how often a channel is really pressed, in equal bins of [0, 1].

    Args:
        predicted: (M,), clipped to [0, 1], as nothing is likelier than certain.
        pressed: (M,) bool.
    """
    values = np.clip(predicted, 0, 1)
    bin_of = np.minimum((values * bins).astype(int), bins - 1)
    steps = np.bincount(bin_of, minlength=bins)
    filled = steps > 0
    sums = (np.bincount(bin_of, weights=weights, minlength=bins)[filled] for weights in (values, pressed))
    predicted_means, observed = ((each / steps[filled]).tolist() for each in sums)
    return Reliability(predicted_means, observed, steps[filled].tolist())


class Threshold(NamedTuple):
    """Pressing at `value` and above gives this F1."""

    value: float
    f1: float


def best_threshold(predicted: np.ndarray, pressed: np.ndarray) -> Threshold | None:
    """The predicted value (M,) that tells pressed steps (M,) from others with the best F1; None if none is pressed."""
    if not pressed.any():
        return None
    order = np.argsort(-predicted, kind="stable")
    values = predicted[order]
    scores = 2 * np.cumsum(pressed[order]) / (np.arange(1, len(values) + 1) + pressed.sum())
    scores[:-1][values[:-1] == values[1:]] = -1.0  # equal values are pressed together
    best = int(np.argmax(scores))
    return Threshold(float(values[best]), float(scores[best]))
