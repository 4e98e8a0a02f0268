from itertools import combinations

import numpy as np
import pytest

from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.miniworld.players.sight import look
from lerobot_qwenvla.miniworld.tasks import (
    NEW_PAIRS,
    NEW_WORDS,
    RECORDED,
    SECOND_OBJECT,
    TASKS,
    THIRD_OBJECT,
    WRONG_OBJECT,
)
from lerobot_qwenvla.recorder.play import evaluate_player
from recordings_to_lerobot.actions.encoding import action_vector

NEVER_RECORDED = {"red ball", "blue key", "yellow box"}


@pytest.fixture(scope="module")
def make_env():
    envs = {}

    def make(variation: str = RECORDED) -> MiniworldEnv:
        if variation not in envs:
            envs[variation] = MiniworldEnv("GoToObject", 48, 48, variation=variation)
        return envs[variation]

    yield make
    for env in envs.values():
        env.close()


def names(env: MiniworldEnv) -> list[str]:
    return list(env.world.names.values())


def told(env: MiniworldEnv) -> str:
    """The object that the instruction names."""
    [name] = [name for name in names(env) if name in env.task_description]
    return name


def stand_beside(env: MiniworldEnv, entity) -> tuple[float, bool, bool]:
    """Reward, end and success of a step next to an object."""
    env.world.agent.pos = entity.pos + np.array([entity.radius + 0.45, 0.0, 0.0])
    _, reward, terminated, _, info = env.step(action_vector())
    return reward, terminated, info["is_success"]


def test_three_to_five_different_objects_stand_apart(make_env):
    env, counts = make_env(), set()
    for seed in range(30):
        env.reset(seed=seed)
        counts.add(len(names(env)))
        assert len(set(names(env))) == len(names(env))
        everything = [*env.world.names, env.world.agent]
        assert min(np.linalg.norm(a.pos - b.pos) for a, b in combinations(everything, 2)) >= 2.6
    assert counts == {3, 4, 5}


def test_some_pairs_are_never_recorded_and_met_as_the_goal_only_when_asked_for(make_env):
    recorded, new = set(), set()
    for seed in range(60):
        make_env().reset(seed=seed)
        recorded |= set(names(make_env()))
        make_env(NEW_PAIRS).reset(seed=seed)
        new.add(told(make_env(NEW_PAIRS)))
    assert new == NEVER_RECORDED
    assert len(recorded) == 15 and not recorded & NEVER_RECORDED


def test_the_goal_is_what_the_instruction_names(make_env):
    env, sentences = make_env(), set()
    for seed in range(20):
        env.reset(seed=seed)
        assert env.world.names[env.goal] == told(env)
        sentences.add(env.task_description.replace(told(env), "{goal}"))
    assert sentences == set(TASKS["GoToObject"].words)


def test_the_same_seed_is_the_same_world_in_other_words(make_env):
    for seed in range(5):
        worlds = []
        for variation in (RECORDED, NEW_WORDS, WRONG_OBJECT):
            make_env(variation).reset(seed=seed)
            worlds.append([(name, tuple(entity.pos)) for entity, name in make_env(variation).world.names.items()])
        assert worlds[0] == worlds[1] == worlds[2]
        assert make_env(NEW_WORDS).task_description not in make_env().task_description
        assert told(make_env(NEW_WORDS)) == told(make_env()) != told(make_env(WRONG_OBJECT))


def test_the_same_room_can_be_told_any_of_three_objects(make_env):
    for seed in range(5):
        rooms, goals = [], []
        for variation in (RECORDED, SECOND_OBJECT, THIRD_OBJECT):
            env = make_env(variation)
            env.reset(seed=seed)
            rooms.append({name: tuple(entity.pos) for entity, name in env.world.names.items()} | {"pose": env.pose})
            goals.append(env.world.names[env.goal])
            assert told(env) == goals[-1]
        assert rooms[0] == rooms[1] == rooms[2]
        assert len(set(goals)) == 3


def test_in_such_a_room_only_the_named_object_is_success(make_env):
    env = make_env(THIRD_OBJECT)
    for seed in range(3):
        env.reset(seed=seed)
        for i in range(len(names(env))):
            env.reset(seed=seed)
            entity, name = list(env.world.names.items())[i]
            assert stand_beside(env, entity)[2] == (name == told(env))


def test_reaching_the_goal_is_success_and_touching_another_object_the_end(make_env):
    env = make_env()
    env.reset(seed=1)
    reward, terminated, success = stand_beside(
        env, next(entity for entity in env.world.names if entity is not env.goal)
    )
    assert (reward, terminated, success) == (0.0, True, False)
    env.reset(seed=1)
    reward, terminated, success = stand_beside(env, env.goal)
    assert reward > 0 and terminated and success


def test_only_what_is_in_sight_is_seen(make_env):
    env = make_env()
    env.reset(seed=3)
    seen = set()
    for _ in range(24):
        sight = look(env)
        seen |= {thing.name for thing in sight.things}
        assert len(sight.things) < len(names(env))
        env.step(action_vector(mouse=(1.0, 0.0)))
    assert seen == set(names(env))


def test_the_scripted_player_reaches_its_goal_and_touches_nothing_else():
    assert np.mean(evaluate_player("scripted", "GoToObject", range(1000, 1020), canvas_w=48, canvas_h=48)) >= 0.95
