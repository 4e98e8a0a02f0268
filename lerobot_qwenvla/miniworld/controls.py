"""What the mouse-and-keyboard vector means in a Miniworld: steering, walking, hands."""

from dataclasses import dataclass

import numpy as np

from recordings_to_lerobot.actions.channels import CHANNEL_INDEX

MAX_TURN_DEG = 15.0
# Canvases from 12 pixels on have a pixel inside this zone, so that a player can always look straight ahead.
DEAD_ZONE = 0.1


@dataclass(frozen=True)
class Controls:
    """One tick of play.

    Attributes:
        turn_deg: Change of heading, positive to the left as in Miniworld.
        walk: 1 forward, -1 back, 0 stand, in steps of the world.
        sidestep: 1 right, -1 left, 0 none, in steps of the world.
        picks_up: Takes what is in front.
        drops: Puts down what is carried. Picking up wins where both are asked for.
    """

    turn_deg: float
    walk: int
    sidestep: int
    picks_up: bool
    drops: bool


def decode_controls(state: np.ndarray) -> Controls:
    """Controls of an input state.  # (len(CHANNELS),) float32, of an `Executor`"""

    def pressed(channel: str) -> int:
        return int(state[CHANNEL_INDEX[channel]])

    return Controls(
        turn_deg=turn_of_mouse_x(float(state[CHANNEL_INDEX["mouse.x"]])),
        walk=pressed("key.w") - pressed("key.s"),
        sidestep=pressed("key.d") - pressed("key.a"),
        picks_up=bool(pressed("button.left")),
        drops=bool(pressed("button.right")),
    )


def turn_of_mouse_x(mouse_x: float) -> float:
    """Turn in degrees (positive to the left) for a normalised mouse position in [-1, 1]."""
    beyond = max(0.0, abs(mouse_x) - DEAD_ZONE) / (1.0 - DEAD_ZONE)
    return float(-np.sign(mouse_x) * beyond * MAX_TURN_DEG)


def mouse_x_of_turn(turn_deg: float) -> float:
    """Normalised mouse position that turns by `turn_deg`, or by the most there is; 0 for no turn."""
    if turn_deg == 0.0:
        return 0.0
    fraction = min(abs(turn_deg) / MAX_TURN_DEG, 1.0)
    return float(-np.sign(turn_deg) * (DEAD_ZONE + (1.0 - DEAD_ZONE) * fraction))
