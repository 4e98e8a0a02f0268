"""Looking for a goal in a building of rooms, of which only what was seen is known."""

import cv2
import numpy as np

from lerobot_qwenvla.devices.intention import Intention
from lerobot_qwenvla.miniworld.players.hands import LEFT, RIGHT
from lerobot_qwenvla.miniworld.players.navigation import Navigator
from lerobot_qwenvla.miniworld.players.sight import Sight, bearing_deg

# Once turning to one side, the other must save so much.
CHANGE_SIDE_STEPS = 6.0
# The room left behind is searched only when nothing else is left.
BEHIND_STEPS = 150.0
FEWEST_CELLS = 3
# Inside the edges of the view.
MARGIN_DEG = 5.0
ARRIVED_M = 0.6
# A goal is reached from about 1.1 m, and may stand too near a wall to be walked to.
REACH_M = 1.0


class Explorer:
    """Goes where the floor in sight ends without a wall, or turns to where it has not looked.

    Frontier exploration (Yamauchi, 1997), with what is cheapest to see first.
    """

    def __init__(self, navigator: Navigator, leaves: bool):
        """`leaves` if there is nothing to look for where the player begins."""
        self._navigator = navigator
        self._leaving = leaves
        self._left_behind: tuple[np.ndarray, np.ndarray] | None = None
        self._side = 0

    def explore(self, sight: Sight, passable: np.ndarray) -> Intention:
        """What to do to see more, from a place in sight, over these cells."""
        distances_m = self._navigator.map.distances_m(passable, sight.position_m)
        turns, walks = self._frontier(sight, passable)
        side, turn_steps = self._cheapest_turn(sight, turns)
        way_steps = distances_m[walks[:, 0], walks[:, 1]] / self._navigator.hands.step_m + self._behind_steps(walks)
        if np.isfinite(way_steps.min(initial=np.inf)) and (self._leaving or way_steps.min() <= turn_steps):
            cell = tuple(walks[way_steps.argmin()])
            if self._leaving and distances_m[cell] < ARRIVED_M:
                self._leaving = False
                ahead = np.array([np.cos(sight.heading_rad), -np.sin(sight.heading_rad)])
                self._left_behind = sight.position_m, ahead
            self._side = 0
            return self._navigator.walk_along(sight, passable, distances_m, cell)
        self._side = (self._side or _side_of_longer_view(sight)) if self._leaving else side
        return self._navigator.hands.turn(self._side * self._navigator.hands.step_deg, sight.position_m)

    def _frontier(self, sight: Sight, passable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unseen cells beside seen floor that a turn would show (K, 2), floor beside the other unseen ones (L, 2)."""
        floor_map = self._navigator.map
        edge = _large_parts(floor_map.unknown() & _grown(passable))
        cells = np.argwhere(edge)
        not_hidden = floor_map.not_hidden(sight.position_m)
        cells = cells[floor_map.is_clear(not_hidden, sight.position_m, floor_map.places_m(cells))]
        edge[tuple(cells.T)] = False
        in_view = np.abs(self._bearings_deg(sight, cells)) < abs(bearing_deg(sight, sight.floor_ends_m[0])) - MARGIN_DEG
        # Nothing hides them: the cells are too coarse for what is there.
        floor_map.floor[tuple(cells[in_view].T)] = 1
        return cells[~in_view], np.argwhere(passable & _grown(edge))

    def _cheapest_turn(self, sight: Sight, cells: np.ndarray) -> tuple[int, float]:
        """To which side to turn, and for how many steps, until an unseen cell (K, 2) comes into view."""
        bearings = self._bearings_deg(sight, cells)
        steps = {}
        for side in (RIGHT, LEFT):
            to_cells = (bearings * side) % 360 / self._navigator.hands.step_deg + self._behind_steps(cells)
            steps[side] = to_cells.min(initial=np.inf) + CHANGE_SIDE_STEPS * (self._side == -side)
        side = min(steps, key=steps.get)
        return side, steps[side]

    def _bearings_deg(self, sight: Sight, cells: np.ndarray) -> np.ndarray:
        return np.array([bearing_deg(sight, place_m) for place_m in self._navigator.map.places_m(cells)])

    def _behind_steps(self, cells: np.ndarray) -> np.ndarray:
        """What cells (K, 2) cost besides their distance: much if the player came from there when it left its start."""
        if self._left_behind is None:
            return np.zeros(len(cells))
        place_m, ahead = self._left_behind
        return BEHIND_STEPS * ((self._navigator.map.places_m(cells) - place_m) @ ahead < 0)


class SearchPlanner:
    """Explores until it sees the goal, then walks to where it saw it."""

    def __init__(self, navigator: Navigator, goal: str, leaves: bool = False):
        """For a goal of this name; `leaves` if it is known to be elsewhere than where the player begins."""
        self._navigator = navigator
        self._explorer = Explorer(navigator, leaves)
        self._goal = goal

    def intend(self, sight: Sight) -> Intention:
        """What to do in the interval that begins with this sight."""
        self._navigator.see(sight)
        passable = self._navigator.passable(sight)
        goal = self._navigator.find(self._goal)
        if goal:
            return self._navigator.approach(sight, goal.place_m, passable, REACH_M)
        return self._explorer.explore(sight, passable)


class ReadSignPlanner:
    """Explores until it can read the sign, then looks for the thing of the told shape in that colour."""

    def __init__(self, navigator: Navigator, shape: str, touch_m: float):
        """`touch_m`: between the player's middle and the edge of a thing that it touches, which ends the episode."""
        self._navigator = navigator
        self._sign_explorer = Explorer(navigator, leaves=True)
        self._thing_explorer = Explorer(navigator, leaves=False)
        self._shape = shape
        self._touch_m = touch_m
        self._color: str | None = None

    def intend(self, sight: Sight) -> Intention:
        """What to do in the interval that begins with this sight."""
        self._navigator.see(sight)
        self._color = self._color or sight.sign
        goal = self._navigator.find(f"{self._color} {self._shape}")
        others = [thing for thing in self._navigator.things if thing is not goal]
        passable = self._navigator.passable(sight, others, self._touch_m)
        if goal:
            return self._navigator.approach(sight, goal.place_m, passable, REACH_M)
        explorer = self._thing_explorer if self._color else self._sign_explorer
        return explorer.explore(sight, passable)


def _side_of_longer_view(sight: Sight) -> int:
    to_left_m, to_right_m = np.linalg.norm(sight.floor_ends_m[[0, -1]] - sight.position_m, axis=1)
    return LEFT if to_left_m > to_right_m else RIGHT


def _grown(mask: np.ndarray) -> np.ndarray:
    """A mask and all cells beside it."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _large_parts(mask: np.ndarray) -> np.ndarray:
    """A mask without its specks."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return mask & (stats[:, cv2.CC_STAT_AREA] >= FEWEST_CELLS)[labels]
