"""Going to a goal in one room, without touching anything else."""

import numpy as np

from lerobot_qwenvla.devices.intention import Intention
from lerobot_qwenvla.miniworld.players.hands import AHEAD_DEG, LEFT, RIGHT, Hands
from lerobot_qwenvla.miniworld.players.sight import Sight, bearing_deg

# Half a turn step: in eight steps played without looking, the goal cannot cross the whole field of view.
SEARCH_TURN_DEG = 7.5
STEERING_GAIN = 0.5
WALK_BELOW_DEG = 20.0
# Closer than any goal can be reached without success: whoever stands here remembers the wrong place.
FORGET_BELOW_M = 0.5
# From the centre of what must not be touched: next to a key begins at 1.3 m, and a step is 0.15 m.
KEEP_AWAY_M = 1.5
SAME_THING_M = 0.1


class GoToPlanner:
    """Turns until the goal is in sight, then steers and walks to where it saw it.

    A goal that leaves the view, perhaps because something stands before it, is remembered where it was, and so are the
    things on the way, which it walks around.
    """

    def __init__(self, hands: Hands, goal: str):
        """A planner before the first look, for a goal of this name."""
        self._hands = hands
        self._goal = goal
        self._goal_m: np.ndarray | None = None
        self._others_m: list[np.ndarray] = []
        self._search_side = RIGHT

    def intend(self, sight: Sight) -> Intention:
        """What to do in the interval that begins with this sight."""
        self._remember_goal(sight)
        self._remember_others(sight)
        if self._goal_m is None:
            return self._hands.turn(self._search_side * SEARCH_TURN_DEG, sight.position_m)
        bearing = self._clear_bearing_deg(sight)
        turn_deg = 0.0 if abs(bearing) < AHEAD_DEG else STEERING_GAIN * bearing
        act = self._hands.turn if abs(bearing) > WALK_BELOW_DEG else self._hands.walk
        return act(turn_deg, sight.position_m)

    def _remember_goal(self, sight: Sight) -> None:
        seen = sight.find(self._goal)
        if seen:
            self._goal_m = seen.place_m
        if self._goal_m is None:
            return
        self._search_side = LEFT if bearing_deg(sight, self._goal_m) > 0 else RIGHT
        if _distance_m(self._goal_m, sight.position_m) < FORGET_BELOW_M:
            self._goal_m = None

    def _remember_others(self, sight: Sight) -> None:
        for place_m in (thing.place_m for thing in sight.things if thing.name != self._goal):
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


def _distance_m(place_m: np.ndarray, other_m: np.ndarray) -> float:
    return float(np.linalg.norm(place_m - other_m))
