"""What a player may know of the world: where it stands, and what can be seen from there."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lerobot_qwenvla.miniworld.environment import MiniworldEnv

if TYPE_CHECKING:  # importing it needs OpenGL
    from miniworld.entity import Entity

# Of the screen's pixels: less is not noticed.
SMALLEST_VISIBLE_SHARE = 0.001
# Of the sign's pixels: with less of it on the screen, it cannot be read.
LEGIBLE_SHARE = 0.02
RAYS = 91


@dataclass(frozen=True)
class Thing:
    """An object in sight.

    Attributes:
        name: Its colour and shape, "red box".
        place_m: (2,) floor coordinates of its centre.
        radius_m: Of the circle that it stands in.
    """

    name: str
    place_m: np.ndarray
    radius_m: float


def _nothing() -> np.ndarray:
    return np.empty((0, 2))


@dataclass(frozen=True)
class Sight:
    """One look around.

    Attributes:
        position_m: (2,) floor coordinates x, z of the player.
        heading_rad: Direction the player faces, counter-clockwise.
        things: The objects in sight, but for the one that is carried.
        carried: What the player holds.
        floor_ends_m: (RAYS, 2) where the floor in view ends at a wall, from the left edge of the view to the right.
        walls_m: (N, 2, 2) the stretches of wall at which it ends, from end to end.
        sign: The word on a sign that can be read.
    """

    position_m: np.ndarray
    heading_rad: float
    things: tuple[Thing, ...] = ()
    carried: Thing | None = None
    floor_ends_m: np.ndarray = field(default_factory=_nothing)
    walls_m: np.ndarray = field(default_factory=lambda: np.empty((0, 2, 2)))
    sign: str | None = None

    def find(self, name: str) -> Thing | None:
        """The first thing of this name."""
        return next((thing for thing in self.things if thing.name == name), None)


def look(env: MiniworldEnv) -> Sight:
    """What the player of this environment sees now."""
    world, agent = env.world, env.world.agent
    movable = [entity for entity in world.entities if entity not in (agent, agent.carrying) and not entity.is_static]
    floor_ends_m, walls_m = _see_walls(world)
    return Sight(
        position_m=_floor_m(agent),
        heading_rad=float(agent.dir),
        things=tuple(_thing(entity) for entity in movable if _is_visible(env, entity)),
        carried=_thing(agent.carrying) if agent.carrying else None,
        floor_ends_m=floor_ends_m,
        walls_m=walls_m,
        sign=_read_sign(env),
    )


def name_of(entity: "Entity") -> str:
    """Colour and shape, "red box"."""
    from miniworld.entity import MeshEnt
    from miniworld.objmesh import ObjMesh

    if not isinstance(entity, MeshEnt):
        return f"{entity.color} box"
    # The mesh is all that a stock ball or key knows of its colour.
    path = next(path for path, mesh in ObjMesh.cache.items() if mesh is entity.mesh)
    return " ".join(reversed(Path(path).stem.split("_")))


def _thing(entity: "Entity") -> Thing:
    return Thing(name_of(entity), _floor_m(entity), entity.radius)


def _floor_m(entity: "Entity") -> np.ndarray:
    return np.array(entity.pos, dtype=float)[[0, 2]]


def _is_visible(env: MiniworldEnv, entity: "Entity") -> bool:
    """Whether the screen would look different without an entity.

    Miniworld's own test asks for the lowest 20 cm of an entity, which drop out of view some steps before it.
    """
    agent = env.world.agent
    ahead_m, aside_m = np.dot(entity.pos - agent.pos, agent.dir_vec), np.dot(entity.pos - agent.pos, agent.right_vec)
    # Most are outside the view, which needs no drawing to tell; its edge is straight.
    slope = _view_slope(env.canvas_px, agent.cam_fov_y)
    if abs(aside_m) - entity.radius > slope * (ahead_m + entity.radius):
        return False
    return _share_of_screen(env, entity) >= SMALLEST_VISIBLE_SHARE


def _share_of_screen(env: MiniworldEnv, entity: "Entity") -> float:
    """Share of the screen's pixels that would look different without an entity."""
    world = env.world
    everything = world.entities
    world.entities = [other for other in everything if other is not entity]
    try:
        if entity.is_static:
            world._render_static()
        without_it = world.render_obs()
    finally:
        world.entities = everything
        if entity.is_static:
            world._render_static()
    return float((without_it != env.screen).any(axis=-1).mean())


def _view_slope(canvas_px: tuple[int, int], fov_y_deg: float) -> float:
    """Half the width of the view, for each metre ahead."""
    width_px, height_px = canvas_px
    return float(np.tan(np.radians(fov_y_deg / 2)) * width_px / height_px)


def _read_sign(env: MiniworldEnv) -> str | None:
    from miniworld.entity import TextFrame

    signs = [entity for entity in env.world.entities if isinstance(entity, TextFrame)]
    return next((sign.str.lower() for sign in signs if _share_of_screen(env, sign) >= LEGIBLE_SHARE), None)


def bearing_deg(sight: Sight, place_m: np.ndarray) -> float:
    """Angle from the player's heading to a place (2,), in (-180, 180], positive to the left."""
    dx, dz = place_m - sight.position_m
    # Miniworld's z axis points to the right of its x axis.
    to_place_rad = np.arctan2(-dz, dx) - sight.heading_rad
    return float(np.degrees(np.arctan2(np.sin(to_place_rad), np.cos(to_place_rad))))


def _see_walls(world) -> tuple[np.ndarray, np.ndarray]:
    """Where the floor in view ends (RAYS, 2), and the stretches of wall there (N, 2, 2)."""
    agent = world.agent
    slope = _view_slope((world.obs_fb.width, world.obs_fb.height), agent.cam_fov_y)
    ahead, right = agent.dir_vec[[0, 2]], agent.right_vec[[0, 2]]
    rays = ahead + np.linspace(-slope, slope, RAYS)[:, None] * right  # (RAYS, 2)
    starts_m = world.wall_segs[:, 0][:, [0, 2]] - _floor_m(agent)  # (W, 2)
    edges_m = world.wall_segs[:, 1][:, [0, 2]] - world.wall_segs[:, 0][:, [0, 2]]
    with np.errstate(divide="ignore", invalid="ignore"):  # a ray along a wall meets it nowhere
        crossing = _cross(rays[:, None], edges_m)  # (RAYS, W)
        along_ray = _cross(starts_m, edges_m) / crossing
        along_wall = _cross(starts_m[None], rays[:, None]) / crossing
        # Walls that meet in a corner leave no slit there.
        hit = (along_ray > 0) & (along_wall > -1e-6) & (along_wall < 1 + 1e-6)
    along_ray = np.where(hit, along_ray, np.inf)
    nearest = along_ray.argmin(axis=1)  # (RAYS,) which wall
    ends_m = _floor_m(agent) + along_ray.min(axis=1, keepdims=True) * rays
    changes = np.flatnonzero(np.diff(nearest)) + 1
    stretches = np.split(np.arange(RAYS), changes)
    return ends_m, ends_m[[(rows[0], rows[-1]) for rows in stretches]]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
