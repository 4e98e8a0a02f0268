import math

import numpy as np
import pytest

from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from recordings_to_lerobot.actions.channels import CHANNELS
from recordings_to_lerobot.actions.encoding import action_vector

CANVAS_PX = 48
STILL = action_vector()
AHEAD = action_vector(keys={"w"})


@pytest.fixture
def env():
    env = MiniworldEnv(canvas_w=CANVAS_PX, canvas_h=CANVAS_PX)
    env.reset(seed=0)
    yield env
    env.close()


def stand(env, distance_to_goal_m):
    """Put the player in the middle of the room, with the goal straight ahead."""
    env.world.agent.pos, env.world.agent.dir = np.array([5.0, 0.0, 5.0]), 0.0
    env.goal.pos = np.array([5.0 + distance_to_goal_m, 0.0, 5.0])


def play(env, seed, actions):
    observation, _ = env.reset(seed=seed)
    observations = [observation, *(env.step(action)[0] for action in actions)]
    return np.stack([observation["pixels"]["screen"] for observation in observations])


def test_same_seed_and_actions_give_the_same_pictures(env):
    env.action_space.seed(1)
    actions = [env.action_space.sample() for _ in range(20)]
    first = play(env, 7, actions)
    other = MiniworldEnv(canvas_w=CANVAS_PX, canvas_h=CANVAS_PX)
    other.reset(seed=99)
    np.testing.assert_array_equal(play(other, 7, actions), first)
    other.close()
    np.testing.assert_array_equal(play(env, 7, actions), first)
    assert (play(env, 8, actions) != first).any()


def test_observations_and_actions_are_in_their_spaces(env):
    observation, _ = env.reset(seed=1)
    assert observation in env.observation_space
    action = env.action_space.sample()
    assert env.step(action)[0] in env.observation_space
    assert env.action_space.shape == (len(CHANNELS),)
    np.testing.assert_array_equal(env.action_space.low[:3], [-1, -1, 0])


def test_after_reset_the_mouse_is_centred_and_nothing_is_held(env):
    env.step(action_vector(mouse=(0.4, 0.2), keys={"w"}))
    observation, _ = env.reset(seed=1)
    assert not observation["agent_pos"].any()


def test_agent_pos_is_where_the_last_action_left_mouse_and_keys(env):
    action = action_vector(mouse=(0.4, -0.2), buttons={"right"}, keys={"a", "space"})
    observation, *_ = env.step(action * 0.9 + 0.01)
    np.testing.assert_allclose(observation["agent_pos"][:2], action[:2] * 0.9 + 0.01, rtol=1e-6)
    np.testing.assert_array_equal(observation["agent_pos"][2:], action[2:])


@pytest.mark.parametrize(
    ("key", "moved_m"),
    [("w", (0.15, 0.0)), ("s", (-0.15, 0.0)), ("d", (0.0, 0.15)), ("a", (0.0, -0.15))],
)
def test_keys_move_by_the_stock_step(env, key, moved_m):
    stand(env, 3.0)
    env.step(action_vector(keys={key}))
    np.testing.assert_allclose(env.world.agent.pos[[0, 2]] - 5.0, moved_m, atol=1e-9)


def test_mouse_at_the_edge_turns_by_the_stock_turn(env):
    stand(env, 3.0)
    env.step(action_vector(mouse=(1.0, 0.0)))
    assert math.degrees(env.world.agent.dir) == pytest.approx(-15.0)


def test_the_pose_is_where_the_player_stands_and_looks(env):
    stand(env, 3.0)
    env.step(action_vector(mouse=(1.0, 0.0), keys={"w"}))
    pose = env.pose
    assert (pose.x_m, pose.z_m) == (env.world.agent.pos[0], env.world.agent.pos[2])
    assert pose.heading_deg == pytest.approx(345.0)


def test_walls_stop_the_player(env):
    stand(env, -3.0)
    for _ in range(60):
        env.step(AHEAD)
    assert env.world.agent.pos[0] <= 10.0 - env.world.agent.radius


def test_success_is_reaching_the_goal_and_ends_the_episode(env):
    stand(env, 1.4)
    *_, reward, terminated, truncated, info = env.step(AHEAD)
    assert (reward, terminated, truncated, info["is_success"]) == (0.0, False, False, False)
    *_, reward, terminated, truncated, info = env.step(AHEAD)
    assert reward > 0
    assert (terminated, truncated, info["is_success"]) == (True, False, True)


def test_stock_budget_ends_an_episode_without_success(env):
    stand(env, 4.0)
    ends = [env.step(STILL)[2:4] for _ in range(180)]
    assert env._max_episode_steps == 180
    assert not any(truncated for _, truncated in ends[:-1])
    assert ends[-1] == (False, True)


def test_budget_can_be_chosen():
    env = MiniworldEnv(canvas_w=CANVAS_PX, canvas_h=CANVAS_PX, episode_length=2)
    env.reset(seed=0)
    assert [env.step(STILL)[3] for _ in range(2)] == [False, True]
    env.close()


def test_left_button_picks_up_and_right_button_drops(env):
    stand(env, 1.0)
    env.step(action_vector(buttons={"left"}))
    assert env.world.agent.carrying is env.goal
    env.step(action_vector(buttons={"right"}))
    assert env.world.agent.carrying is None


def test_the_screen_is_the_one_last_observed(env):
    observation, *_ = env.step(action_vector(mouse=(0.5, 0.0)))
    np.testing.assert_array_equal(env.screen, observation["pixels"]["screen"])


def test_an_onlooker_sees_the_screen_with_what_is_said_and_pressed(env):
    env.step(STILL)
    still = env.render()
    env.step(action_vector(mouse=(0.5, 0.0), keys={"w"}))
    height_px = still.shape[1]  # of the screen, which is square, before the keyboard
    assert still.shape[0] > height_px >= 480 and still.dtype == np.uint8
    assert (env.render()[height_px:] != still[height_px:]).any(), "the pressed key is not drawn"
    env.task_description = ""
    assert (env.render()[height_px:] != still[height_px:]).any(), "the instruction is not drawn"


def test_canvas_need_not_be_square():
    env = MiniworldEnv(canvas_w=64, canvas_h=32)
    assert env.reset(seed=0)[0]["pixels"]["screen"].shape == (32, 64, 3)
    assert env.canvas_px == (64, 32)
    env.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "NoRoom"}, "Known tasks"),
        ({"canvas_w": 8}, "at least 16"),
        ({"episode_length": 0}, "at least 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MiniworldEnv(**arguments)


def test_actions_that_are_not_finite_are_refused(env):
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full(len(CHANNELS), np.nan))
