"""What mouse and keyboard look like once an action was performed."""

import numpy as np

from recordings_to_lerobot.actions.channels import CHANNELS, MOUSE_CHANNELS

PRESSED_ABOVE = 0.5


def input_state(action: np.ndarray) -> np.ndarray:
    """State that an action leaves behind: mouse in [-1, 1], the rest 0 or 1.

    Args:
        action: (len(CHANNELS),) any real dtype.

    Returns:
        (len(CHANNELS),) float32.

    Raises:
        ValueError: Wrong shape, or a value that is not finite.
    """
    action = np.asarray(action, dtype=np.float32)
    if action.shape != (len(CHANNELS),):
        raise ValueError(f"An action has shape ({len(CHANNELS)},), one value per channel, not {action.shape}.")
    if not np.isfinite(action).all():
        broken = [name for name, value in zip(CHANNELS, action, strict=True) if not np.isfinite(value)]
        raise ValueError(f"Every value of an action must be finite; these are not: {', '.join(broken)}.")
    state = (action > PRESSED_ABOVE).astype(np.float32)
    n_mouse = len(MOUSE_CHANNELS)
    state[:n_mouse] = np.clip(action[:n_mouse], -1.0, 1.0)
    return state
