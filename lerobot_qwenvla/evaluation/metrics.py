"""What is measured of predicted actions: pure functions of chunks.

In all of them `predicted` and `true` are (N, T, A), in the dataset's units, and `is_pad` (N, T) marks the steps that
are not of an episode and do not count.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lerobot_qwenvla.devices.input_state import PRESSED_ABOVE
from lerobot_qwenvla.evaluation.calibration import best_threshold, reliability
from lerobot_qwenvla.evaluation.transitions import Counts, count_transitions, events, f1


def binary_channels(names: Sequence[str], actions: np.ndarray) -> np.ndarray:
    """Channels that only ever are 0 or 1 in actions (M, A), but for a mouse that rests.  # (A,) bool"""
    is_mouse = np.array([name.startswith("mouse.") for name in names])
    return ((actions == 0) | (actions == 1)).all(0) & ~is_mouse


def squared_error(predicted: np.ndarray, true: np.ndarray, is_pad: np.ndarray) -> np.ndarray:
    """Mean squared error of each channel.  # (A,)"""
    return ((predicted - true)[~is_pad].astype(np.float64) ** 2).mean(0)


def accuracy(predicted: np.ndarray, true: np.ndarray, is_pad: np.ndarray) -> np.ndarray:
    """Share of steps at which each channel is rightly pressed or not.  # (A,)"""
    return ((predicted > PRESSED_ABOVE) == (true > PRESSED_ABOVE))[~is_pad].mean(0)


def squared_jerk(actions: np.ndarray, is_pad: np.ndarray) -> float | None:
    """Mean square of the third difference of actions (N, T, A), in their unit per step³; None below four steps."""
    jerk = np.diff(actions.astype(np.float64), n=3, axis=1)  # (N, T-3, A)
    steps = jerk.shape[1]
    is_real = ~np.any([is_pad[:, i : i + steps] for i in range(4)], axis=0) if steps else np.zeros(0, bool)
    return float((jerk[is_real] ** 2).mean()) if is_real.any() and jerk.shape[2] else None


def presses_per_second(actions: np.ndarray, is_pad: np.ndarray, fps: float) -> float:
    """How often any channel of actions (N, T, A) goes down in a second."""
    return float(events(actions, is_pad).presses.sum() / ((~is_pad).sum() / fps))


def measure(
    predicted: np.ndarray,
    true: np.ndarray,
    is_pad: np.ndarray,
    *,
    names: Sequence[str],
    is_binary: np.ndarray,
    fps: float,
    normalize: Callable[[np.ndarray], np.ndarray],
) -> dict[str, Any]:
    """Everything that is measured, as JSON has it; None where there is nothing to measure.

    Args:
        names: Of the channels.
        is_binary: (A,) bool.
        fps: Steps a second.
        normalize: Actions (N, T, A) → as the policy is trained on them.
    """
    mse = squared_error(predicted, true, is_pad)  # (A,)
    keys, true_keys = predicted[..., is_binary], true[..., is_binary]
    smooth, true_smooth = predicted[..., ~is_binary], true[..., ~is_binary]
    right = accuracy(keys, true_keys, is_pad)
    counts = count_transitions(keys, true_keys, is_pad)
    values, is_pressed = keys[~is_pad], true_keys[~is_pad] > PRESSED_ABOVE  # (M, K)
    is_used = is_pressed.any(0)
    channels = {name: {"mse": float(error)} for name, error in zip(names, mse, strict=True)}
    for k, name in enumerate(np.array(names)[is_binary]):
        threshold = best_threshold(values[:, k], is_pressed[:, k])
        channels[name] |= {
            "accuracy": float(right[k]),
            "pressed": float(is_pressed[:, k].mean()),
            "transition_f1": f1(Counts(*(each[k] for each in counts))),
            "reliability": reliability(values[:, k], is_pressed[:, k])._asdict(),
            "best_threshold": threshold and threshold._asdict(),
        }
    return {
        "steps": int((~is_pad).sum()),
        "mse_normalized": float(squared_error(normalize(predicted), normalize(true), is_pad).mean()),
        "mse": float(mse.mean()),
        # A key that nobody presses is easily right: only channels that are pressed count.
        "accuracy": float(right[is_used].mean()) if is_used.any() else None,
        "transition_f1": f1(counts),
        "transitions": {name: int(each.sum()) for name, each in counts._asdict().items()},
        "squared_jerk": squared_jerk(smooth, is_pad),
        "squared_jerk_true": squared_jerk(true_smooth, is_pad),
        "presses_per_second": presses_per_second(keys, is_pad, fps),
        "presses_per_second_true": presses_per_second(true_keys, is_pad, fps),
        "channels": channels,
    }
