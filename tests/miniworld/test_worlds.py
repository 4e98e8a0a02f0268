import dataclasses
import sys

import numpy as np
import pytest

from lerobot_qwenvla.miniworld import worlds

ONE_ROOM = "miniworld.envs.oneroom:OneRoom"
FOUR_ROOMS = "miniworld.envs.fourrooms:FourRooms"


def make_world(path, canvas_px=48, **kwargs):
    return worlds.world_class(path)(
        obs_width=canvas_px, obs_height=canvas_px, window_width=1, window_height=1, **kwargs
    )


def start(world, seed):
    picture, _ = world.reset(seed=seed)
    return picture


def turn(world):
    return world.step(world.actions.turn_left)[0]


def pictures_alone(make, seed, n_steps):
    world = make()
    pictures = [start(world, seed), *(turn(world) for _ in range(n_steps))]
    world.close()
    return np.stack(pictures)


@pytest.mark.parametrize(
    "make_other",
    [lambda: make_world(FOUR_ROOMS), lambda: make_world(ONE_ROOM, size=4), lambda: make_world(ONE_ROOM, 96)],
    ids=["other class", "other room size", "other canvas"],
)
def test_interleaved_worlds_draw_what_each_draws_alone(make_other):
    def make():
        return make_world(ONE_ROOM)

    alone, other_alone = pictures_alone(make, 3, 6), pictures_alone(make_other, 4, 6)
    world, other = make(), make_other()
    pictures, other_pictures = [start(world, 3)], [start(other, 4)]
    for _ in range(6):
        pictures.append(turn(world))
        other_pictures.append(turn(other))
    np.testing.assert_array_equal(pictures, alone)
    np.testing.assert_array_equal(other_pictures, other_alone)
    world.close()
    other.close()


def test_a_world_survives_the_end_of_another():
    alone = pictures_alone(lambda: make_world(ONE_ROOM), 3, 2)
    world, other = make_world(ONE_ROOM), make_world(FOUR_ROOMS)
    first = start(world, 3)
    start(other, 4)
    other.close()
    np.testing.assert_array_equal([first, turn(world), turn(world)], alone)
    np.testing.assert_array_equal(start(world, 3), alone[0])
    world.close()


def test_textures_outlive_all_worlds():
    first, second = (pictures_alone(lambda: make_world(ONE_ROOM), 3, 2) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OpenGL is part of other systems")
def test_missing_library_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr(worlds, "OPENGL", dataclasses.replace(worlds.OPENGL, is_there=lambda: False))
    # A path of its own, since classes are made once.
    with pytest.raises(worlds.OpenGLMissingError, match="without it Miniworld cannot draw"):
        worlds.world_class("miniworld.envs.wallgap:WallGap")
