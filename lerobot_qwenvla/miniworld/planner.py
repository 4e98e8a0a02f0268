"""A planner for "go to the goal, and touch nothing else" that knows only what its player has seen."""

import numpy as np

from lerobot_qwenvla.devices.intention import Intention
from lerobot_qwenvla.miniworld.controls import MAX_TURN_DEG, mouse_x_of_turn
from lerobot_qwenvla.miniworld.sight import Sight, bearing_deg
from recordings_to_lerobot.actions.encoding import denormalize_px

# Half a turn step: in eight steps played without looking, the goal cannot cross the whole field of view.
SEARCH_TURN_DEG = 7.5
STEERING_GAIN = 0.5
AHEAD_DEG = 1.0
WALK_BELOW_DEG = 20.0
BLOCKED_BELOW_M = 0.01
SLIDE_STEPS = 4
# Closer than any goal can be reached without success: whoever stands here remembers the wrong place.
FORGET_BELOW_M = 0.5
LEFT, RIGHT = 1, -1
# From the centre of what must not be touched: next to a key begins at 1.3 m, and a step is 0.15 m.
KEEP_AWAY_M = 1.5
SAME_THING_M = 0.1


class GoToPlanner:
    """Turns until the goal is in sight, then steers and walks to where it saw it.

    A goal that leaves the view, perhaps because something stands before it, is remembered where it was, and so are the
    things on the way, which it walks around.
    """

    def __init__(self, canvas_px: tuple[int, int]):
        """A planner before the first look at a canvas (width, height)."""
        self._canvas_px = canvas_px
        self._goal_m: np.ndarray | None = None
        self._others_m: list[np.ndarray] = []
        self._search_side = RIGHT
        self._keys: frozenset[str] = frozenset()
        self._walks_steadily = False
        self._position_m: np.ndarray | None = None
        self._slide_side = LEFT
        self._slide_steps_left = 0

    def intend(self, sight: Sight) -> Intention:
        """What to do in the interval that begins with this sight."""
        self._remember_goal(sight)
        self._remember_others(sight)
        # While fingers change keys the old one is still down, and may be what is blocked.
        blocked = self._walks_steadily and _distance_m(sight.position_m, self._position_m) < BLOCKED_BELOW_M
        if self._goal_m is None:
            turn_deg, keys = self._search_side * SEARCH_TURN_DEG, frozenset()
        else:
            turn_deg, keys = self._approach(self._clear_bearing_deg(sight), blocked)
        self._walks_steadily = bool(keys) and keys == self._keys
        self._keys = keys
        self._position_m = sight.position_m
        return Intention(self._cursor_of_turn(turn_deg), keys)

    def _remember_goal(self, sight: Sight) -> None:
        if sight.goal_m is not None:
            self._goal_m = sight.goal_m
        if self._goal_m is None:
            return
        self._search_side = LEFT if bearing_deg(sight, self._goal_m) > 0 else RIGHT
        if _distance_m(self._goal_m, sight.position_m) < FORGET_BELOW_M:
            self._goal_m = None

    def _remember_others(self, sight: Sight) -> None:
        for place_m in sight.others_m:
            if all(_distance_m(place_m, known_m) > SAME_THING_M for known_m in self._others_m):
                self._others_m.append(place_m)

    def _clear_bearing_deg(self, sight: Sight) -> float:
        """Direction to the goal, or past the side of the nearest thing that stands before it."""
        bearing = bearing_deg(sight, self._goal_m)
        goal_distance_m = _distance_m(self._goal_m, sight.position_m)
        in_the_way = [m for m in self._others_m if _distance_m(m, sight.position_m) < goal_distance_m]
        for other_m in sorted(in_the_way, key=lambda m: _distance_m(m, sight.position_m)):
            share = KEEP_AWAY_M / max(_distance_m(other_m, sight.position_m), 1e-6)
            # Along the tangent; from too near, away from it.
            half_width = float(np.degrees(np.arcsin(min(share, 1.0)))) * max(share, 1.0)
            off = bearing - bearing_deg(sight, other_m)
            if abs(off) < half_width:
                return bearing_deg(sight, other_m) + (half_width if off >= 0 else -half_width)
        return bearing

    def _approach(self, bearing: float, blocked: bool) -> tuple[float, frozenset[str]]:
        turn_deg = 0.0 if abs(bearing) < AHEAD_DEG else STEERING_GAIN * bearing
        if abs(bearing) > WALK_BELOW_DEG:
            return turn_deg, frozenset()
        return turn_deg, frozenset({self._walking_key(blocked)})

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
        mouse_x = mouse_x_of_turn(float(np.clip(turn_deg, -MAX_TURN_DEG, MAX_TURN_DEG)))
        return round(denormalize_px(mouse_x, width_px)), height_px // 2


def _distance_m(place_m: np.ndarray, other_m: np.ndarray) -> float:
    return float(np.linalg.norm(place_m - other_m))
