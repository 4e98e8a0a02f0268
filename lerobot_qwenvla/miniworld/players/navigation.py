"""Walking to places over the floor that was seen, around walls and things."""

from collections.abc import Iterable

import numpy as np

from lerobot_qwenvla.devices.intention import Intention
from lerobot_qwenvla.miniworld.players.floor_map import FloorMap
from lerobot_qwenvla.miniworld.players.hands import AHEAD_DEG, Hands
from lerobot_qwenvla.miniworld.players.sight import Sight, Thing, bearing_deg

STEERING_GAIN = 1.0
# Walking while turning further than this would be a detour.
WALK_BELOW_DEG = 45.0
SAME_PLACE_M = 0.1
# Length of a way that has yet to be seen, of that as the crow flies.
DETOUR = 2.0


class Navigator:
    """Remembers floor, walls and things, and steers.

    Attributes:
        map: The floor and walls that were seen.
        things: The things that were seen, where they were seen last.
        hands: What it steers with.
    """

    def __init__(self, hands: Hands):
        """Before the first look."""
        self.hands = hands
        self.map: FloorMap
        self.things: list[Thing] = []
        self._passable: np.ndarray
        self._distances_m: np.ndarray

    def see(self, sight: Sight) -> None:
        """Take in what is in sight."""
        if not hasattr(self, "map"):
            self.map = FloorMap(sight.position_m)
        self.map.add(sight)
        for thing in sight.things:
            self.forget(thing)
            self.things.append(thing)

    def forget(self, thing: Thing) -> None:
        """It is no longer where it was."""
        self.things = [known for known in self.things if not is_same(known, thing)]

    def forget_name(self, name: str) -> None:
        """What has this name is no longer where it was."""
        self.things = [known for known in self.things if known.name != name]

    def find(self, name: str) -> Thing | None:
        """A thing of this name that was seen."""
        return next((thing for thing in self.things if thing.name == name), None)

    def passable(self, sight: Sight, avoid: Iterable[Thing] = (), keep_away_m: float = 0.0) -> np.ndarray:
        """Cells the player can stand on; the middles of things to avoid stay so far away, besides their radius."""
        return self.map.walkable(sight.position_m, [(thing.place_m, thing.radius_m + keep_away_m) for thing in avoid])

    def approach(self, sight: Sight, place_m: np.ndarray, passable: np.ndarray, reach_m: float) -> Intention:
        """Walk to a place; straight if the way is clear until so far from it, which may be too near a wall."""
        way_m = place_m - sight.position_m
        before_m = sight.position_m + way_m * max(0.0, 1 - reach_m / max(np.linalg.norm(way_m), 1e-6))
        if self.map.is_clear(passable, sight.position_m, before_m[None])[0]:
            return self.steer(sight, place_m)
        distances_m = self.map.distances_m(passable, sight.position_m)
        reachable = np.argwhere(np.isfinite(distances_m))
        # What is left from there may be no straight way.
        left_m = DETOUR * np.linalg.norm(self.map.places_m(reachable) - place_m, axis=1)
        best = (distances_m[tuple(reachable.T)] + left_m).argmin()
        return self.walk_along(sight, passable, distances_m, tuple(reachable[best]))

    def walk_along(self, sight: Sight, passable: np.ndarray, distances_m: np.ndarray, cell: tuple) -> Intention:
        """Walk the shortest way to a cell, given the length of those to all cells."""
        return self.steer(sight, self.map.waypoint_m(passable, distances_m, sight.position_m, cell))

    def steer(self, sight: Sight, place_m: np.ndarray, walk_below_deg: float = WALK_BELOW_DEG) -> Intention:
        """Turn towards a place, and walk once it is about ahead."""
        bearing = bearing_deg(sight, place_m)
        turn_deg = 0.0 if abs(bearing) < AHEAD_DEG else STEERING_GAIN * bearing
        act = self.hands.turn if abs(bearing) > walk_below_deg else self.hands.walk
        return act(turn_deg, sight.position_m)


def is_same(thing: Thing, other: Thing) -> bool:
    """Whether two looks saw one thing."""
    return bool(np.linalg.norm(thing.place_m - other.place_m) < SAME_PLACE_M)
