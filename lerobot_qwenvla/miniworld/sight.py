"""What a player may know of the world: where it stands, and where the goal is while it can be seen."""

from dataclasses import dataclass

import numpy as np

from lerobot_qwenvla.miniworld.environment import MiniworldEnv

# Of the screen's pixels: less is not noticed.
SMALLEST_VISIBLE_SHARE = 0.001


@dataclass(frozen=True)
class Sight:
    """One look around.

    Attributes:
        position_m: (2,) floor coordinates x, z of the player.
        heading_rad: Direction the player faces, counter-clockwise.
        goal_m: (2,) floor coordinates of the goal, None while it is out of sight.
    """

    position_m: np.ndarray
    heading_rad: float
    goal_m: np.ndarray | None


def look(env: MiniworldEnv) -> Sight:
    """What the player of this environment sees now."""
    agent = env.world.agent
    return Sight(
        position_m=agent.pos[[0, 2]].copy(),
        heading_rad=float(agent.dir),
        goal_m=env.goal.pos[[0, 2]].copy() if _goal_is_visible(env) else None,
    )


def _goal_is_visible(env: MiniworldEnv) -> bool:
    """Whether the screen would look different without the goal.

    Miniworld's own test asks for the lowest 20 cm of an entity, which drop out of view some steps before it.
    """
    world, goal = env.world, env.goal
    assert not goal.is_static, "static entities stay in the picture until their world is compiled again"
    everything = world.entities
    world.entities = [entity for entity in everything if entity is not goal]
    try:
        without_goal = world.render_obs()
    finally:
        world.entities = everything
    differs = (without_goal != env.render()).any(axis=-1)
    return bool(differs.mean() >= SMALLEST_VISIBLE_SHARE)


def bearing_deg(sight: Sight, place_m: np.ndarray) -> float:
    """Angle from the player's heading to a place (2,), in (-180, 180], positive to the left."""
    dx, dz = place_m - sight.position_m
    # Miniworld's z axis points to the right of its x axis.
    to_place_rad = np.arctan2(-dz, dx) - sight.heading_rad
    return float(np.degrees(np.arctan2(np.sin(to_place_rad), np.cos(to_place_rad))))
