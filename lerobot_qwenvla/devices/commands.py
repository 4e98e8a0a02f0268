"""What must be done to mouse and keyboard so that they hold something else."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Press:
    """A button or key goes down or comes up.

    Attributes:
        channel: `button.left`, `key.w`.
        is_down: Whether it goes down.
    """

    channel: str
    is_down: bool


@dataclass(frozen=True)
class Move:
    """The mouse goes to a position in [-1, 1], or by as many canvas widths and heights in `delta` datasets."""

    x: float
    y: float


def commands_between(before: np.ndarray, after: np.ndarray, channels: tuple[str, ...]) -> list[Press | Move]:
    """Commands that lead from one state (len(channels),) to another: first up, then the way, then down.

    So nothing is dragged that was not, and a click lands where the mouse was sent.
    """
    changes = [
        Press(name, bool(is_down))
        for name, was_down, is_down in zip(channels[2:], before[2:], after[2:], strict=True)
        if was_down != is_down
    ]
    is_movement = channels[0] == "mouse.dx"
    moves = after[:2].any() if is_movement else (before[:2] != after[:2]).any()
    return [
        *(press for press in changes if not press.is_down),
        *([Move(float(after[0]), float(after[1]))] if moves else []),
        *(press for press in changes if press.is_down),
    ]
