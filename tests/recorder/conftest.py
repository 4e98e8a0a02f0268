"""A small real world to play and record in."""

import pytest

from lerobot_qwenvla.envs.miniworld_env import MiniworldEnv


@pytest.fixture
def env():
    env = MiniworldEnv(canvas_w=64, canvas_h=48)
    env.reset(seed=0)
    yield env
    env.close()
