"""What clients declare and send is checked once; what they get is what LeRobot's client unpickles."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from lerobot.async_inference.helpers import RemotePolicyConfig, TimedAction, TimedObservation

from lerobot_qwenvla.serving.wire.messages import read_observation, read_setup, write_actions
from tests.serving.clients import setup as pickled_setup
from tests.serving.conftest import NAMES
from tests.serving.hostile_payloads import wrong_observations, wrong_setups

SCREEN = "observation.images.screen"


@pytest.fixture(scope="module")
def read(engine):
    config, token_grid = engine.policy.config, engine.policy.backbone.token_grid
    return lambda data: read_setup(data, config, token_grid, "outputs/checkpoint")


@pytest.mark.parametrize("path", ["served", "outputs/checkpoint"])
def test_a_client_may_name_the_served_policy(read, declared, path):
    got = read(pickled_setup(declared, path=path, actions=4))
    assert got.state_names == tuple(NAMES) and got.cameras == {SCREEN: (64, 64, 3)} and got.actions_per_chunk == 4


def test_no_more_actions_than_the_policy_predicts(read, declared, engine):
    assert read(pickled_setup(declared, actions=1000)).actions_per_chunk == engine.policy.config.chunk_size


def test_wrong_setups_are_refused(read, declared):
    good = RemotePolicyConfig("qwenvla", "served", declared, 4)
    for name, data in wrong_setups(good, SCREEN):
        with pytest.raises(ValueError):
            pytest.fail(f"{name} was read as {read(data)}")


def test_channels_of_robots_are_those_of_datasets(read, declared):
    def renamed(names):
        state = {**declared["observation.state"], "names": names}
        return pickled_setup({**declared, "observation.state": state})

    assert read(renamed([f"{name}.vel" for name in NAMES])).state_names[0] == f"{NAMES[0]}.vel"
    with pytest.raises(ValueError, match="in another order"):
        read(renamed([f"{name}.vel" for name in NAMES[::-1]]))


def test_an_observation_comes_back(read, declared, make_values):
    values = {**make_values(0), NAMES[0]: np.float32(0.5), NAMES[1]: 1, "something else": 3}
    got = read_observation(pickle.dumps(TimedObservation(2.5, 7, values, True)), read(pickled_setup(declared)))
    assert (got.timestep, got.timestamp_s, got.must_go, got.instruction) == (7, 2.5, True, "go to box 1")
    assert (got.images[SCREEN] == values["screen"]).all()
    assert got.state.tolist() == [pytest.approx(values[name]) for name in NAMES]


def test_wrong_observations_are_refused(read, declared, make_values):
    declared_setup = read(pickled_setup(declared))
    good = TimedObservation(1.0, 0, make_values(0))
    read_observation(pickle.dumps(good), declared_setup)
    for name, data in wrong_observations(good, "screen", NAMES[0]):
        with pytest.raises(ValueError):
            pytest.fail(f"{name} was read as {read_observation(data, declared_setup)}")


def test_a_missing_number_is_refused(read, declared, make_values):
    values = make_values(0)
    del values[NAMES[2]]
    with pytest.raises(ValueError, match="a number of the state is missing"):
        read_observation(pickle.dumps(TimedObservation(1.0, 0, values)), read(pickled_setup(declared)))


def test_a_chunk_is_small_and_lerobots():
    actions = np.random.default_rng(0).normal(size=(50, 27)).astype(np.float32)
    data = write_actions(actions, 7, 100.0, 10)
    chunk = pickle.loads(data)
    assert len(data) <= 10_000
    assert all(type(each) is TimedAction and each.action.dtype == torch.float32 for each in chunk)
    assert [each.get_timestep() for each in chunk] == list(range(8, 58))
    assert [each.get_timestamp() for each in chunk[:2]] == [100.1, 100.2]
    assert (np.stack([each.get_action().numpy() for each in chunk]) == actions).all()
    chunk[0].get_action().mul_(2)  # of its own: the client mixes actions in place


def test_two_cameras_and_one_that_the_policy_has_not(make_config, engine, declared):
    both = {**declared, "observation.images.wrist": {"shape": (48, 48, 3)}}
    config = engine.policy.config
    got = read_setup(pickled_setup(both), config, engine.policy.backbone.token_grid, "x")
    assert list(got.cameras) == [SCREEN]
    with pytest.raises(ValueError, match="the policy looks at"):
        other = {name: both[name] for name in ("observation.state", "observation.images.wrist")}
        read_setup(pickled_setup(other), config, engine.policy.backbone.token_grid, "x")


def test_a_long_instruction_is_refused(read, declared, make_values):
    good = TimedObservation(1.0, 0, make_values(0, task="x" * 1000))
    read_observation(pickle.dumps(good), read(pickled_setup(declared)))
    longer = replace(good, observation=make_values(0, task="x" * 1001))
    with pytest.raises(ValueError, match="at most 1000 characters"):
        read_observation(pickle.dumps(longer), read(pickled_setup(declared)))
