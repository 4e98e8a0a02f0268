"""From where to go to mouse and keys."""

import numpy as np

from lerobot_qwenvla.devices.intention import Intention
from lerobot_qwenvla.miniworld.controls import MAX_TURN_DEG, mouse_x_of_turn
from recordings_to_lerobot.actions.encoding import denormalize_px

AHEAD_DEG = 1.0
BLOCKED_BELOW_M = 0.01
SLIDE_STEPS = 4
LEFT, RIGHT = 1, -1


class Hands:
    """Steers and walks; steps aside for a while from what blocks the way.

    Attributes:
        step_m: How far a step walks.
        step_deg: How far a step turns at most.
    """

    def __init__(self, canvas_px: tuple[int, int], step_m: float = 0.15, step_deg: float = MAX_TURN_DEG):
        """For a canvas (width, height), and a world in which a step walks and turns so far."""
        self._canvas_px = canvas_px
        self.step_m = step_m
        self.step_deg = step_deg
        self._keys: frozenset[str] = frozenset()
        self._walks_steadily = False
        self._position_m: np.ndarray | None = None
        self._slide_side = LEFT
        self._slide_steps_left = 0

    def turn(self, turn_deg: float, position_m: np.ndarray, clicks: tuple[str, ...] = ()) -> Intention:
        """Turn by so much, positive to the left, and stand."""
        return self._intend(turn_deg, frozenset(), position_m, clicks)

    def walk(self, turn_deg: float, position_m: np.ndarray, clicks: tuple[str, ...] = ()) -> Intention:
        """Turn by so much, and walk on from where the player stands."""
        # While fingers change keys the old one is still down, and may be what is blocked.
        blocked = self._walks_steadily and np.linalg.norm(position_m - self._position_m) < BLOCKED_BELOW_M
        return self._intend(turn_deg, frozenset({self._walking_key(bool(blocked))}), position_m, clicks)

    def back_off(self, position_m: np.ndarray) -> Intention:
        """Walk backwards."""
        return self._intend(0.0, frozenset({"s"}), position_m, ())

    def _intend(
        self, turn_deg: float, keys: frozenset[str], position_m: np.ndarray, clicks: tuple[str, ...]
    ) -> Intention:
        self._walks_steadily = bool(keys) and keys == self._keys
        self._keys = keys
        self._position_m = position_m
        return Intention(self._cursor_of_turn(turn_deg), keys, clicks)

    def _walking_key(self, blocked: bool) -> str:
        """Forward, or for some steps sideways along what is in the way; the other way if that is blocked."""
        sliding = self._slide_steps_left > 0
        if blocked:
            if sliding:
                self._slide_side = -self._slide_side
            self._slide_steps_left = SLIDE_STEPS
        if self._slide_steps_left == 0:
            return "w"
        self._slide_steps_left -= 1
        return "a" if self._slide_side == LEFT else "d"

    def _cursor_of_turn(self, turn_deg: float) -> tuple[int, int]:
        width_px, height_px = self._canvas_px
        share = float(np.clip(turn_deg / self.step_deg, -1.0, 1.0))
        return round(denormalize_px(mouse_x_of_turn(share * MAX_TURN_DEG), width_px)), height_px // 2
