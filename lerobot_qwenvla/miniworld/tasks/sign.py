"""The stock world with a sign, in which the seed decides what the sign says and what the player is told."""

from miniworld.entity import Entity
from miniworld.envs import sign

# In the order of the stock world's numbers.
COLORS, SHAPES = ("blue", "red", "green"), ("box", "key")


class Sign(sign.Sign):
    """Go to the object of the shape that the instruction names, in the colour that only the sign names.

    The stock world has the shape in its observation, beside the picture; here the instruction says it, and the
    observation is the picture. Touching another object ends the episode, with a reward of -1.

    Attributes:
        names: The goal and the object of the other shape in that colour, by the shape that the instruction names.
    """

    def _gen_world(self):
        self._color_index = int(self.np_random.integers(len(COLORS)))
        self._goal = int(self.np_random.integers(len(SHAPES)))
        super()._gen_world()
        shapes = (self._goal, 1 - self._goal)
        self.names: dict[Entity, str] = {self._objects[shape][self._color_index]: SHAPES[shape] for shape in shapes}

    @property
    def goal(self) -> Entity:
        """The object to go to."""
        return next(iter(self.names))

    @property
    def says(self) -> str:
        """The colour on the sign."""
        return COLORS[self._color_index]

    def reset(self, **kwargs):
        state, info = super().reset(**kwargs)
        return state["obs"], info

    def step(self, action):
        state, *outcome = super().step(action)
        return state["obs"], *outcome
