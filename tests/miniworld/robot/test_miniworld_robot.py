"""The robot with its world in a process of its own, as LeRobot makes and calls it."""

import json
import time

import numpy as np
import pytest
from lerobot.robots import RobotConfig, make_robot_from_config
from lerobot.utils.errors import DeviceNotConnectedError

from lerobot_qwenvla.devices.desktop.region import ScreenRegion
from lerobot_qwenvla.devices.robot_features import values_of
from recordings_to_lerobot.actions.channels import CHANNELS
from recordings_to_lerobot.actions.encoding import action_vector
from tests.virtual_screen import virtual_desktop

LONGEST_WAIT_S = 60
NOTHING = values_of(action_vector(), CHANNELS)


def make_robot(**settings):
    config_class = RobotConfig.get_choice_class("miniworld")
    return make_robot_from_config(config_class(**{"canvas_w": 48, "canvas_h": 32, **settings}))


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    """Its episodes are over after 4 ticks."""
    robot = make_robot(episode_length=4, fps=50, results=tmp_path_factory.mktemp("robot") / "results.jsonl")
    robot.connect()
    yield robot
    robot.disconnect()


def wait_until(robot, is_so):
    deadline_s = time.monotonic() + LONGEST_WAIT_S
    while not is_so(observation := robot.get_observation()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return observation


def test_it_sees_a_screen_and_what_is_held(robot):
    observation = robot.get_observation()
    assert observation.keys() == robot.observation_features.keys()
    screen = observation["screen"]
    assert (screen.shape, screen.dtype) == (robot.observation_features["screen"], np.uint8)
    assert screen.std() > 10
    assert list(robot.cameras) == ["screen"]


def test_the_world_does_not_wait(robot):
    n_before = len(robot.results)
    wait_until(robot, lambda _: len(robot.results) >= n_before + 2)
    seeds = [result.seed for result in robot.results]
    assert seeds == list(range(len(seeds)))
    lines = robot.config.results.read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == seeds
    assert {json.loads(line)["success"] for line in lines} == {False}


def test_a_key_is_held_and_comes_up_when_nothing_more_is_sent(robot):
    deadline_s = time.monotonic() + LONGEST_WAIT_S
    while not robot.get_observation()["key.w.vel"]:
        robot.send_action({**NOTHING, "key.w.vel": 1.0})
        assert time.monotonic() < deadline_s
    wait_until(robot, lambda observation: not observation["key.w.vel"])


def test_no_action_is_harmless(robot):
    assert robot.send_action({}) == {}
    robot.get_observation()


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"key.w.vel": 1.0}, "lacks"),
        ({**NOTHING, "shoulder_pan.pos": 0.0}, r"has \['shoulder_pan\.pos'\]"),
        ({**NOTHING, "key.w.vel": float("nan")}, r"finite.*key\.w"),
    ],
)
def test_wrong_actions_are_named_and_do_no_harm(robot, action, message):
    with pytest.raises(ValueError, match=message):
        robot.send_action(action)
    robot.get_observation()


def test_a_world_that_cannot_be_built_says_why():
    with pytest.raises(ValueError, match="Unknown Miniworld task 'NoRoom'"):
        make_robot(task="NoRoom")
    with pytest.raises(ValueError, match="at least 16 pixels"):
        make_robot(canvas_w=4).connect()


def test_a_world_whose_process_died_says_so():
    robot = make_robot()
    robot.connect()
    robot._world._process.kill()
    robot._world._process.join()
    with pytest.raises(RuntimeError, match="The world has ended"):
        robot.get_observation()
    robot.disconnect()
    with pytest.raises(DeviceNotConnectedError):
        robot.get_observation()


def test_a_person_sees_what_the_robot_sees(tmp_path):
    with virtual_desktop(tmp_path):
        robot = make_robot(window=True)
        robot.connect()
        region = ScreenRegion("Miniworld", None)
        wait_until(robot, lambda _: region.grab(robot.canvas_px).std() > 10)
        shown, seen = region.grab(robot.canvas_px), robot.get_observation()["screen"]
        region.close()
        robot.disconnect()
    assert np.abs(shown.astype(int) - seen).mean() < 3
