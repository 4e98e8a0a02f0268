"""Looking for a goal in a building of rooms, of which only what was seen is known."""

import cv2
import numpy as np

from lerobot_qwenvla.devices.intention import Intention
from lerobot_qwenvla.miniworld.players.floor_map import CELL_M, FloorMap
from lerobot_qwenvla.miniworld.players.hands import AHEAD_DEG, LEFT, RIGHT, Hands
from lerobot_qwenvla.miniworld.players.sight import Sight, bearing_deg

STEERING_GAIN = 0.7
WALK_BELOW_DEG = 45.0
# What a step is worth, to weigh turning against walking.
STEP_M, STEP_DEG = 0.15, 15.0
# Once turning to one side, the other must save so much.
CHANGE_SIDE_STEPS = 6.0
# The room left behind is searched only when nothing else is left.
BEHIND_STEPS = 150.0
FEWEST_CELLS = 3
ARRIVED_M = 0.6
# A goal is reached from about 1.1 m, and may stand too near a wall to be walked to.
REACH_M = 1.0


class SearchPlanner:
    """Goes where the floor in sight ends without a wall, or turns to where it has not looked, until it sees the goal.

    Frontier exploration (Yamauchi, 1997), with what is cheapest to see first.
    """

    def __init__(self, hands: Hands, goal: str, leaves: bool = False):
        """For a goal of this name; `leaves` if it is known to be elsewhere than where the player begins."""
        self._hands = hands
        self._goal = goal
        self._leaving = leaves
        self._left_behind: tuple[np.ndarray, np.ndarray] | None = None
        self._goal_m: np.ndarray | None = None
        self._map: FloorMap | None = None
        self._side = 0

    def intend(self, sight: Sight) -> Intention:
        """What to do in the interval that begins with this sight."""
        self._map = self._map or FloorMap(sight.position_m)
        self._map.add(sight)
        seen = sight.find(self._goal)
        if seen:
            self._goal_m = seen.place_m
        passable = self._map.walkable(sight.position_m)
        distances_m = self._map.distances_m(passable, sight.position_m)
        if self._goal_m is not None:
            return self._walk_to_goal(sight, passable, distances_m)
        return self._explore(sight, passable, distances_m)

    def _walk_to_goal(self, sight: Sight, passable: np.ndarray, distances_m: np.ndarray) -> Intention:
        way_m = self._goal_m - sight.position_m
        length_m = np.linalg.norm(way_m)
        before_m = sight.position_m + way_m * max(0.0, 1 - REACH_M / max(length_m, 1e-6))
        if self._map.is_clear(passable, sight.position_m, before_m[None])[0]:
            return self._walk_to(sight, self._goal_m)
        reachable = np.argwhere(np.isfinite(distances_m))
        nearest = np.linalg.norm(self._map.places_m(reachable) - self._goal_m, axis=1).argmin()
        return self._walk_to(
            sight, self._map.waypoint_m(passable, distances_m, sight.position_m, tuple(reachable[nearest]))
        )

    def _explore(self, sight: Sight, passable: np.ndarray, distances_m: np.ndarray) -> Intention:
        turns, walks = self._frontier(sight, passable)
        side, turn_steps = self._cheapest_turn(sight, turns)
        way_steps = distances_m[walks[:, 0], walks[:, 1]] / STEP_M + self._behind_steps(walks)
        if np.isfinite(way_steps.min(initial=np.inf)) and (self._leaving or way_steps.min() <= turn_steps):
            cell = tuple(walks[way_steps.argmin()])
            if self._leaving and distances_m[cell] < ARRIVED_M:
                self._leaving = False
                ahead = np.array([np.cos(sight.heading_rad), -np.sin(sight.heading_rad)])
                self._left_behind = sight.position_m, ahead
            self._side = 0
            return self._walk_to(sight, self._map.waypoint_m(passable, distances_m, sight.position_m, cell))
        self._side = (self._side or self._side_of_longer_view(sight)) if self._leaving else side
        return self._hands.turn(self._side * STEP_DEG, sight.position_m)

    def _frontier(self, sight: Sight, passable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unseen cells beside seen floor that turning would show (K, 2), and seen ones beside the other unseen (L, 2)."""
        unknown = self._map.unknown()
        edge = _large_parts(unknown & _grown(passable))
        cells = np.argwhere(edge)
        in_line = self._map.is_clear(self._map.not_hidden(sight.position_m), sight.position_m, self._map.places_m(cells))
        edge[tuple(cells[in_line].T)] = False
        return cells[in_line], np.argwhere(passable & _grown(edge))

    def _cheapest_turn(self, sight: Sight, cells: np.ndarray) -> tuple[int, float]:
        """To which side to turn, and for how many steps, until an unseen cell (K, 2) comes into view."""
        bearings = np.array([bearing_deg(sight, place_m) for place_m in self._map.places_m(cells)])
        steps = {}
        for side in (RIGHT, LEFT):
            to_cells = (bearings * side) % 360 / STEP_DEG + self._behind_steps(cells)
            steps[side] = to_cells.min(initial=np.inf) + CHANGE_SIDE_STEPS * (self._side == -side)
        side = min(steps, key=steps.get)
        return side, steps[side]

    def _behind_steps(self, cells: np.ndarray) -> np.ndarray:
        return BEHIND_STEPS * self._is_behind(cells)

    def _is_behind(self, cells: np.ndarray) -> np.ndarray:
        """Which cells (K, 2) are on the side from which the player came when it left where it began.  # (K,) bool"""
        if self._left_behind is None:
            return np.zeros(len(cells), dtype=bool)
        place_m, ahead = self._left_behind
        return (self._map.places_m(cells) - place_m) @ ahead < 0

    def _side_of_longer_view(self, sight: Sight) -> int:
        to_left_m, to_right_m = np.linalg.norm(sight.floor_ends_m[[0, -1]] - sight.position_m, axis=1)
        return LEFT if to_left_m > to_right_m else RIGHT

    def _walk_to(self, sight: Sight, place_m: np.ndarray) -> Intention:
        bearing = bearing_deg(sight, place_m)
        turn_deg = 0.0 if abs(bearing) < AHEAD_DEG else STEERING_GAIN * bearing
        act = self._hands.turn if abs(bearing) > WALK_BELOW_DEG else self._hands.walk
        return act(turn_deg, sight.position_m)


def _grown(mask: np.ndarray) -> np.ndarray:
    """A mask and all cells beside it."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _large_parts(mask: np.ndarray) -> np.ndarray:
    """A mask without its specks."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return mask & (stats[:, cv2.CC_STAT_AREA] >= FEWEST_CELLS)[labels]
