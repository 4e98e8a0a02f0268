"""A small real world to play in."""

import pytest

from lerobot_qwenvla.miniworld.environment import MiniworldEnv


@pytest.fixture
def env():
    env = MiniworldEnv(canvas_w=64, canvas_h=48)
    env.reset(seed=0)
    yield env
    env.close()
