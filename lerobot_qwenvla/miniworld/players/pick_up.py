"""Clicking: picking things up, and putting one beside another."""

from collections.abc import Sequence

import numpy as np

from lerobot_qwenvla.devices.intention import Intention
from lerobot_qwenvla.miniworld.players.hands import RIGHT
from lerobot_qwenvla.miniworld.players.navigation import Navigator, is_same
from lerobot_qwenvla.miniworld.players.sight import Sight, Thing, bearing_deg

# A click takes what overlaps a circle of this radius, so far ahead of the player's middle.
HAND_AHEAD_M, HAND_RADIUS_M = 0.6, 0.48
# Between the player's middle and the edge of a thing that it walks around.
KEEP_AWAY_M = 0.55
SEARCH_TURN_DEG = 15.0
# A little more than once around: then things are too far away to be noticed.
MOST_SEARCH_STEPS = 26
# What did not come after so many clicks cannot be had from here.
MOST_CLICKS = 3
BACK_STEPS = 5
REACH_M = 1.0


class Taker:
    """Looks for things in one room, walks up to one, and clicks when it is within reach."""

    def __init__(self, navigator: Navigator):
        """Before the first look."""
        self._navigator = navigator
        self._search_steps = 0
        self._clicked: Thing | None = None
        self._clicks = 0
        self._back_steps = 0
        self._aim_m: np.ndarray | None = None

    def search(self, sight: Sight) -> Intention:
        """Turn to the right; after a full turn, walk to where there is most room, and turn again."""
        if self._aim_m is not None and np.linalg.norm(self._aim_m - sight.position_m) > REACH_M:
            return self._navigator.approach(sight, self._aim_m, self._around_things(sight), REACH_M)
        self._aim_m = None
        self._search_steps += 1
        if self._search_steps > MOST_SEARCH_STEPS:
            self._search_steps = 0
            farthest = np.linalg.norm(sight.floor_ends_m - sight.position_m, axis=1).argmax()
            self._aim_m = (sight.position_m + sight.floor_ends_m[farthest]) / 2
        return self._navigator.hands.turn(RIGHT * SEARCH_TURN_DEG, sight.position_m)

    def look(self, sight: Sight) -> None:
        """What cannot be seen after a click was taken; if it only was too low to be seen, it will be seen again."""
        if self._clicked and not any(is_same(self._clicked, thing) for thing in sight.things):
            self._navigator.forget(self._clicked)
        self._clicked = None

    def take(self, sight: Sight, thing: Thing, picky: bool = False) -> Intention:
        """Walk to a thing and click; `picky` if nothing else may be taken instead."""
        self._search_steps = 0
        if self._back_steps:
            self._back_steps -= 1
            return self._navigator.hands.back_off(sight.position_m)
        others = [other for other in self._navigator.things if other is not thing]
        if _is_within_reach(sight, thing) and not (picky and any(_is_within_reach(sight, other) for other in others)):
            self._clicks += 1
            if self._clicks > MOST_CLICKS:
                self._clicks, self._back_steps = 0, BACK_STEPS
            self._clicked = thing
            return self._navigator.hands.turn(bearing_deg(sight, thing.place_m), sight.position_m, ("left",))
        self._clicks = 0
        passable = self._navigator.passable(sight, others, KEEP_AWAY_M)
        return self._navigator.approach(sight, thing.place_m, passable, REACH_M)

    def _around_things(self, sight: Sight) -> np.ndarray:
        return self._navigator.passable(sight, self._navigator.things, KEEP_AWAY_M)


class CollectPlanner:
    """Picks up whatever it sees, the nearest first."""

    def __init__(self, navigator: Navigator):
        """Before the first look."""
        self._navigator = navigator
        self._taker = Taker(navigator)
        self._wanted: Thing | None = None

    def intend(self, sight: Sight) -> Intention:
        """What to do in the interval that begins with this sight."""
        self._navigator.see(sight)
        self._taker.look(sight)
        self._wanted = _nearest(sight, self._navigator.things, self._wanted)
        return self._taker.take(sight, self._wanted) if self._wanted else self._taker.search(sight)


def _nearest(sight: Sight, things: Sequence[Thing], wanted: Thing | None) -> Thing | None:
    """The thing that was wanted before, if it is still there, or the nearest."""
    same = [thing for thing in things if wanted and is_same(thing, wanted)]
    steps = {
        i: np.linalg.norm(thing.place_m - sight.position_m) / 0.15 + abs(bearing_deg(sight, thing.place_m)) / 15
        for i, thing in enumerate(things)
    }
    return same[0] if same else things[min(steps, key=steps.get)] if things else None


def _is_within_reach(sight: Sight, thing: Thing) -> bool:
    ahead = np.array([np.cos(sight.heading_rad), -np.sin(sight.heading_rad)])
    hand_m = sight.position_m + HAND_AHEAD_M * ahead
    return bool(np.linalg.norm(thing.place_m - hand_m) < HAND_RADIUS_M + thing.radius_m)


class PutNextPlanner:
    """Takes one thing and walks with it up to another, until it can be put down there."""

    def __init__(self, navigator: Navigator, thing: str, target: str, touch_m: float):
        """`touch_m`: at most so much may be between two things that are next to each other."""
        self._navigator = navigator
        self._taker = Taker(navigator)
        self._thing, self._target = thing, target
        self._touch_m = touch_m
        self._away_steps = 0
        self._back_steps = 0
        self._turned_from: float | None = None

    def intend(self, sight: Sight) -> Intention:
        """What to do in the interval that begins with this sight."""
        self._navigator.see(sight)
        if sight.carried is None:
            self._taker.look(sight)
            thing = self._navigator.find(self._thing)
            return self._taker.take(sight, thing, picky=True) if thing else self._taker.search(sight)
        self._navigator.forget_name(sight.carried.name)
        if sight.carried.name != self._thing:
            return self._put_aside(sight)
        target = self._navigator.find(self._target)
        if target is None:
            return self._carry(sight, self._taker.search(sight))
        gap_m = np.linalg.norm(sight.carried.place_m - target.place_m) - sight.carried.radius_m - target.radius_m
        if gap_m < self._touch_m:
            return self._navigator.hands.turn(0.0, sight.position_m, ("right",))
        others = [other for other in self._navigator.things if other is not target]
        passable = self._navigator.passable(sight, others, sight.carried.radius_m + 0.15)
        return self._carry(sight, self._navigator.approach(sight, target.place_m, passable, 2 * REACH_M))

    def _put_aside(self, sight: Sight) -> Intention:
        """Turn away with the wrong thing, and drop it there."""
        self._away_steps += 1
        if self._away_steps % 7:
            return self._navigator.hands.turn(RIGHT * SEARCH_TURN_DEG, sight.position_m)
        return self._navigator.hands.turn(0.0, sight.position_m, ("right",))

    def _carry(self, sight: Sight, intention: Intention) -> Intention:
        """Do so, unless what is carried bumped into something when it turned: then first step back."""
        stuck = self._turned_from is not None and abs(sight.heading_rad - self._turned_from) < 1e-6
        if stuck and not self._back_steps:
            self._back_steps = BACK_STEPS
        self._turned_from = None
        if self._back_steps:
            self._back_steps -= 1
            return self._navigator.hands.back_off(sight.position_m)
        if not intention.keys and not intention.clicks:
            self._turned_from = sight.heading_rad
        return intention
