"""From when on a channel counts as pressed, and what every action must be like."""

import numpy as np

PRESSED_ABOVE = 0.5


def checked_action(action: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
    """A copy of an action of any real dtype.  # (len(channels),) float32

    Raises:
        ValueError: Wrong shape, or a value that is not finite.
    """
    action = np.array(action, dtype=np.float32)
    if action.shape != (len(channels),):
        raise ValueError(f"An action has shape ({len(channels)},), one value per channel, not {action.shape}.")
    if not np.isfinite(action).all():
        broken = [name for name, value in zip(channels, action, strict=True) if not np.isfinite(value)]
        raise ValueError(f"Every value of an action must be finite; these are not: {', '.join(broken)}.")
    return action
