import numpy as np
import pytest

from lerobot_qwenvla.miniworld.players.sight import Sight, bearing_deg, look
from recordings_to_lerobot.actions.encoding import action_vector


def stand(env, goal_m):
    """Put the player in the middle of the room facing +x, the goal at an offset (ahead, to the right)."""
    env.world.agent.pos, env.world.agent.dir = np.array([5.0, 0.0, 5.0]), 0.0
    env.goal.pos = np.array([5.0 + goal_m[0], 0.0, 5.0 + goal_m[1]])
    env.step(action_vector())


@pytest.mark.parametrize("distance_m", [4.0, 2.0, 1.2])
def test_a_goal_ahead_is_seen_from_far_and_near(env, distance_m):
    stand(env, (distance_m, 0.0))
    np.testing.assert_allclose(look(env).find("red box").place_m, [5.0 + distance_m, 5.0])


def test_a_goal_behind_is_not_seen(env):
    stand(env, (-3.0, 0.0))
    assert look(env).find("red box") is None


def test_looking_changes_nothing(env):
    stand(env, (3.0, 0.0))
    screen, entities = env.screen.copy(), list(env.world.entities)
    look(env)
    assert env.world.entities == entities
    np.testing.assert_array_equal(env.step(action_vector())[0]["pixels"]["screen"], screen)


@pytest.mark.parametrize(
    ("place_m", "bearing"),
    [((2.0, 0.0), 0.0), ((0.0, -2.0), 90.0), ((2.0, 2.0), -45.0), ((-2.0, -1e-9), 180.0)],
)
def test_bearing_is_positive_to_the_left(place_m, bearing):
    sight = Sight(position_m=np.zeros(2), heading_rad=0.0)
    assert bearing_deg(sight, np.array(place_m)) == pytest.approx(bearing)


def test_bearing_is_relative_to_the_heading(env):
    stand(env, (3.0, 0.0))
    env.step(action_vector(mouse=(1.0, 0.0)))
    assert bearing_deg(look(env), env.goal.pos[[0, 2]]) == pytest.approx(15.0)
