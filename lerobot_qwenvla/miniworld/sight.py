"""What a player may know of the world: where it stands, and where the goal is while it can be seen."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lerobot_qwenvla.miniworld.environment import MiniworldEnv

if TYPE_CHECKING:  # importing it needs OpenGL
    from miniworld.entity import Entity

# Of the screen's pixels: less is not noticed.
SMALLEST_VISIBLE_SHARE = 0.001


@dataclass(frozen=True)
class Sight:
    """One look around.

    Attributes:
        position_m: (2,) floor coordinates x, z of the player.
        heading_rad: Direction the player faces, counter-clockwise.
        goal_m: (2,) floor coordinates of the goal, None while it is out of sight.
        others_m: (2,) floor coordinates of the things in sight that must not be touched.
    """

    position_m: np.ndarray
    heading_rad: float
    goal_m: np.ndarray | None
    others_m: tuple[np.ndarray, ...] = ()


def look(env: MiniworldEnv) -> Sight:
    """What the player of this environment sees now."""
    agent = env.world.agent
    return Sight(
        position_m=agent.pos[[0, 2]].copy(),
        heading_rad=float(agent.dir),
        goal_m=_floor_m(env.goal) if _is_visible(env, env.goal) else None,
        others_m=tuple(_floor_m(entity) for entity in env.others if _is_visible(env, entity)),
    )


def _floor_m(entity: "Entity") -> np.ndarray:
    return entity.pos[[0, 2]].copy()


def _is_visible(env: MiniworldEnv, entity: "Entity") -> bool:
    """Whether the screen would look different without an entity.

    Miniworld's own test asks for the lowest 20 cm of an entity, which drop out of view some steps before it.
    """
    world = env.world
    assert not entity.is_static, "static entities stay in the picture until their world is compiled again"
    everything = world.entities
    world.entities = [other for other in everything if other is not entity]
    try:
        without_it = world.render_obs()
    finally:
        world.entities = everything
    differs = (without_it != env.render()).any(axis=-1)
    return bool(differs.mean() >= SMALLEST_VISIBLE_SHARE)


def bearing_deg(sight: Sight, place_m: np.ndarray) -> float:
    """Angle from the player's heading to a place (2,), in (-180, 180], positive to the left."""
    dx, dz = place_m - sight.position_m
    # Miniworld's z axis points to the right of its x axis.
    to_place_rad = np.arctan2(-dz, dx) - sight.heading_rad
    return float(np.degrees(np.arctan2(np.sin(to_place_rad), np.cos(to_place_rad))))
