"""When channels are pressed and released, and which of these events a prediction has at the right time."""

from typing import NamedTuple

import numpy as np

from lerobot_qwenvla.devices.input_state import PRESSED_ABOVE

# An event a step early or late is the same event: no player is more exact.
TOLERANCE_STEPS = 1


class Events(NamedTuple):
    """Presses and releases; event t lies between steps t and t+1.  # (N, T-1, A) bool"""

    presses: np.ndarray
    releases: np.ndarray


def events(actions: np.ndarray, is_pad: np.ndarray) -> Events:
    """Where the channels (N, T, A) go up and down; none where a step is padding (N, T)."""
    pressed = actions > PRESSED_ABOVE
    before, after = pressed[:, :-1], pressed[:, 1:]
    is_real = ~(is_pad[:, :-1] | is_pad[:, 1:])[..., None]
    return Events(after & ~before & is_real, before & ~after & is_real)


def matches(predicted: np.ndarray, true: np.ndarray, tolerance_steps: int = TOLERANCE_STEPS) -> np.ndarray:
    """How many events of each channel are in both, at most so many steps apart; every event counts once.

    Pairs each predicted event, in order, with the first true one that is free, which makes as many pairs as possible.

    Args:
        predicted, true: (N, T, A) bool.

    Returns:
        (A,)
    """
    free, steps = true.copy(), true.shape[1]
    matched = np.zeros(true.shape[2], dtype=int)
    for step in range(steps):
        waiting = predicted[:, step].copy()  # (N, A)
        for other in range(max(0, step - tolerance_steps), min(steps, step + tolerance_steps + 1)):
            pairs = waiting & free[:, other]
            waiting &= ~pairs
            free[:, other] &= ~pairs
            matched += pairs.sum(0)
    return matched


class Counts(NamedTuple):
    """Presses and releases of each channel: in both, in the prediction, in the recording.  # (A,)"""

    matched: np.ndarray
    predicted: np.ndarray
    true: np.ndarray


def count_transitions(predicted: np.ndarray, true: np.ndarray, is_pad: np.ndarray) -> Counts:
    """Events of predicted and true actions (N, T, A), presses matched with presses and releases with releases."""
    kinds = list(zip(events(predicted, is_pad), events(true, is_pad), strict=True))
    return Counts(
        sum(matches(p, t) for p, t in kinds),
        sum(p.sum((0, 1)) for p, _ in kinds),
        sum(t.sum((0, 1)) for _, t in kinds),
    )


def f1(counts: Counts) -> float | None:
    """2·matched / (predicted + true) over all channels; None where nothing happens in either."""
    total = counts.predicted.sum() + counts.true.sum()
    return float(2 * counts.matched.sum() / total) if total else None
