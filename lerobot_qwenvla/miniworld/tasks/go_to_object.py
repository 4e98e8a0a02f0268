"""A world of our own: a room with three to five objects, of which one is the goal and all others end the episode."""

from itertools import product

import numpy as np
from gymnasium import utils
from miniworld.entity import COLOR_NAMES, Box, Entity, MeshEnt
from miniworld.miniworld import MiniWorldEnv

SHAPES = ("box", "ball", "key")
HEIGHTS_M = {"box": 0.8, "ball": 0.8, "key": 0.6}
# Never recorded, neither as goal nor beside one: a policy meets these for the first time when it is tested.
NEW_PAIRS = (("red", "ball"), ("blue", "key"), ("yellow", "box"))
RECORDED_PAIRS = tuple(pair for pair in product(COLOR_NAMES, SHAPES) if pair not in NEW_PAIRS)
FEWEST, MOST = 3, 5
# Between centres. Whoever is next to one object (at 1.3 m from a key, less from others) can be next to no other.
SPACING_M = 2.6


class GoToObject(MiniWorldEnv, utils.EzPickle):
    """Go to the object that the instruction names; being next to another one ends the episode without a reward.

    Attributes:
        goal: The object to go to.
        names: What each object is called, "red ball", the goal first.
    """

    def __init__(
        self,
        size: float = 10,
        max_episode_steps: int = 180,
        new_pairs: bool = False,
        goal_index: int = 0,
        **kwargs,
    ):
        """Room of a seed, the same whichever of its objects is the goal.

        Args:
            size: Side of the room in metres.
            max_episode_steps: Step budget.
            new_pairs: Whether the first object is of a pair that is never recorded.
            goal_index: Which of the objects is the goal, below `FEWEST`.
            kwargs: Of every Miniworld.
        """
        assert 0 <= goal_index < FEWEST
        self.size, self.new_pairs, self.goal_index = size, new_pairs, goal_index
        MiniWorldEnv.__init__(self, max_episode_steps=max_episode_steps, **kwargs)
        utils.EzPickle.__init__(self, size, max_episode_steps, new_pairs, goal_index, **kwargs)

    def _gen_world(self):
        self.add_rect_room(min_x=0, max_x=self.size, min_z=0, max_z=self.size)
        count = self.np_random.integers(FEWEST, MOST + 1)
        pairs = [RECORDED_PAIRS[i] for i in self.np_random.permutation(len(RECORDED_PAIRS))[:count]]
        if self.new_pairs:
            pairs[0] = NEW_PAIRS[self.np_random.integers(len(NEW_PAIRS))]
        objects = [make_object(color, shape) for color, shape in pairs]
        self.goal = objects[self.goal_index]
        names = {entity: f"{color} {shape}" for entity, (color, shape) in zip(objects, pairs, strict=True)}
        self.names = {self.goal: names.pop(self.goal), **names}
        self._place_apart([*objects, self.agent])

    def _place_apart(self, entities: list[Entity]) -> None:
        """At random, `SPACING_M` from each other; the first ones may leave no room for the last."""
        while not all(self._place_away(entity, entities[:i]) for i, entity in enumerate(entities)):
            self.entities.clear()

    def _place_away(self, entity: Entity, others: list[Entity], tries: int = 100) -> bool:
        for _ in range(tries):
            self.place_entity(entity)
            if all(np.linalg.norm(entity.pos - other.pos) >= SPACING_M for other in others):
                return True
            self.entities.remove(entity)
        return False

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        if self.near(self.goal):
            reward += self._reward()
            terminated = True
        elif any(self.near(entity) for entity in self.names):
            terminated = True
        return observation, reward, terminated, truncated, info


def make_object(color: str, shape: str) -> Entity:
    """An object that can be seen from across the room; stock keys are only 0.35 m high."""
    height_m = HEIGHTS_M[shape]
    return Box(color, height_m) if shape == "box" else MeshEnt(f"{shape}_{color}", height_m, static=False)
