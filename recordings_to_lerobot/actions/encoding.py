"""Values of the vector: positions between pixels and [-1, 1], and what is pressed by name."""

import numpy as np

from recordings_to_lerobot.actions.channels import CHANNEL_INDEX, CHANNELS, MOUSE_CHANNELS


def normalize_px(position_px: np.ndarray | float, size_px: int) -> np.ndarray | float:
    """Canvas position in pixels [0, size-1] → [-1, 1], clipped: `2 * x / (size - 1) - 1`."""
    return np.clip(2 * position_px / (size_px - 1) - 1, -1.0, 1.0)


def denormalize_px(position: np.ndarray | float, size_px: int) -> np.ndarray | float:
    """Inverse of `normalize_px` inside the canvas."""
    return (position + 1) * (size_px - 1) / 2


def action_vector(
    mouse: tuple[float, float] = (0.0, 0.0),
    buttons: set[str] | frozenset[str] = frozenset(),
    keys: set[str] | frozenset[str] = frozenset(),
) -> np.ndarray:
    """Action from normalised mouse position and the names of what is pressed.  # (len(CHANNELS),) float32

    Raises:
        KeyError: A button or key that is not in the vocabulary.
    """
    action = np.zeros(len(CHANNELS), dtype=np.float32)
    action[: len(MOUSE_CHANNELS)] = mouse
    for name in (*(f"button.{b}" for b in buttons), *(f"key.{k}" for k in keys)):
        action[CHANNEL_INDEX[name]] = 1.0
    return action
