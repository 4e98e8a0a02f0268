import multiprocessing

import numpy as np
import pytest
from lerobot.envs.factory import make_env, make_env_config
from lerobot.envs.utils import NEW_ROLLOUT_OPTION, env_to_policy_features, preprocess_observation

from lerobot_qwenvla.miniworld.configuration_miniworld import MiniworldEnvConfig, start_method
from recordings_to_lerobot.actions.channels import CHANNELS
from recordings_to_lerobot.actions.encoding import action_vector

NEW_ROLLOUT = {NEW_ROLLOUT_OPTION: True}
SEEDS = [5, 6]


def make_vector_env(use_async_envs, **kwargs):
    config = MiniworldEnvConfig(canvas_w=48, canvas_h=32, **kwargs)
    [[vector_env]] = (envs.values() for envs in make_env(config, len(SEEDS), use_async_envs).values())
    return vector_env


def roll_out(vector_env, n_steps):
    """Screens (n_steps + 1, n_envs, H, W, 3) and whether the last step was each episode's end (n_envs,)."""
    observation, _ = vector_env.reset(seed=SEEDS, options=NEW_ROLLOUT)
    screens = [observation["pixels"]["screen"].copy()]
    actions = np.stack([action_vector(mouse=(0.6, 0.0)), action_vector(keys={"w"})])
    for _ in range(n_steps):
        observation, _, terminated, truncated, _ = vector_env.step(actions)
        screens.append(observation["pixels"]["screen"].copy())
    return np.stack(screens), terminated | truncated


def test_it_is_registered_with_lerobot():
    assert isinstance(make_env_config("miniworld"), MiniworldEnvConfig)


def test_policies_get_screen_state_and_action():
    features = env_to_policy_features(MiniworldEnvConfig(canvas_w=48, canvas_h=32))
    assert {name: feature.shape for name, feature in features.items()} == {
        "action": (len(CHANNELS),),
        "observation.state": (len(CHANNELS),),
        "observation.images.screen": (3, 32, 48),
    }


def test_importing_it_needs_no_opengl():
    # In a process that draws nothing: forked from the server that the vector environments below are forked from, too.
    module = MiniworldEnvConfig.__module__
    multiprocessing.set_forkserver_preload([module])
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        pool.apply(exec, (f"import {module}",))
        loaded = pool.apply(eval, ("set(__import__('sys').modules)",))
    assert module in loaded
    assert not {"pyglet", "miniworld"} & loaded


def test_sync_and_async_environments_agree():
    sync, concurrent = make_vector_env(False), make_vector_env(True)
    screens, _ = roll_out(sync, 8)
    concurrent_screens, _ = roll_out(concurrent, 8)
    np.testing.assert_array_equal(screens, concurrent_screens)
    for vector_env in (sync, concurrent):
        assert all("red box" in told for told in vector_env.call("task_description"))
        assert vector_env.call("_max_episode_steps") == (180, 180)
        assert len(np.stack(vector_env.call("render"))) == 2
        vector_env.close()


@pytest.mark.parametrize(("methods", "chosen"), [(["fork", "spawn", "forkserver"], "forkserver"), (["spawn"], "spawn")])
def test_processes_are_spawned_where_no_server_can_fork_them(monkeypatch, methods, chosen):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: methods)
    assert start_method() == chosen


def test_observations_pass_lerobots_preprocessing():
    vector_env = make_vector_env(False)
    observation = preprocess_observation(vector_env.reset(seed=SEEDS)[0])
    assert observation["observation.images.screen"].shape == (2, 3, 32, 48)
    assert observation["observation.state"].shape == (2, len(CHANNELS))
    vector_env.close()


def test_an_ended_episode_stands_still_until_the_next_rollout():
    vector_env = make_vector_env(False, episode_length=3)
    # Gymnasium asks for a reset after the third step and for a step again after that.
    screens, ended = roll_out(vector_env, 5)
    assert ended.all()
    np.testing.assert_array_equal(screens[3], screens[5])
    again, _ = roll_out(vector_env, 1)
    np.testing.assert_array_equal(again[0], screens[0])
    vector_env.close()


def test_unknown_task_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'NoRoom'.*OneRoom"):
        make_env(MiniworldEnvConfig(task="NoRoom"))


def test_several_tasks_are_evaluated_each_under_its_name():
    envs = make_env(MiniworldEnvConfig(task="TMaze,Sign", canvas_w=48, canvas_h=32), n_envs=2)
    assert {task: list(of_task) for task, of_task in envs.items()} == {"TMaze": [0], "Sign": [0]}
    for task, budget in (("TMaze", 280), ("Sign", 20)):
        vector_env = envs[task][0]
        vector_env.reset(seed=SEEDS, options=NEW_ROLLOUT)
        assert vector_env.call("task") == (task,) * 2
        assert vector_env.call("_max_episode_steps") == (budget,) * 2
        vector_env.close()


def test_no_world_is_built_before_its_turn():
    vector_env = make_env(MiniworldEnvConfig(task="FourRooms"), n_envs=1)["FourRooms"][0]
    env = vector_env.envs[0].unwrapped
    assert "world" not in vars(env)
    vector_env.close()
