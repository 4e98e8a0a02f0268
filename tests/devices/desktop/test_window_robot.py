"""A robot that plays a real window of an X server, and a person who takes over."""

import time

import numpy as np
import pytest
from lerobot.robots import RobotConfig, make_robot_from_config
from lerobot.teleoperators import TeleoperatorConfig, make_teleoperator_from_config

from lerobot_qwenvla.devices.robot_features import values_of
from recordings_to_lerobot.actions.channels import ActionSpace
from recordings_to_lerobot.actions.encoding import action_vector
from recordings_to_lerobot.actions.vocabulary import KEY_CODES
from tests.virtual_screen import BOX, wait_until

LEFT, TOP, WIDTH, HEIGHT = BOX
KEYSYMS = {
    "space": 0x20, "shift": 0xFFE1, "ctrl": 0xFFE3, "tab": 0xFF09, "enter": 0xFF0D, "escape": 0xFF1B,
    "up": 0xFF52, "down": 0xFF54, "left": 0xFF51, "right": 0xFF53,
}  # fmt: skip


def make_robot(mouse="absolute", **settings):
    config_class = RobotConfig.get_choice_class("window")
    return make_robot_from_config(config_class(window="A game", mouse=mouse, canvas_w=64, canvas_h=48, **settings))


@pytest.fixture
def robot(game):
    robot = make_robot()
    robot.connect()
    yield robot
    if robot.is_connected:
        robot.disconnect()


def send(robot, **held):
    robot.send_action(values_of(action_vector(**held), robot.channels))


def keysym(name):
    return KEYSYMS.get(name) or ord(name)


def keep_sending(robot, seconds, **held):
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        send(robot, **held)
        time.sleep(0.05)


@pytest.mark.parametrize("name", KEY_CODES)
def test_every_key_reaches_the_window_and_is_no_person(robot, game, name):
    send(robot, keys={name})
    game.wait_for("keydown", keysym=keysym(name))
    send(robot)
    game.wait_for("keyup", keysym=keysym(name))
    assert not robot.is_in_a_persons_hands


def test_the_mouse_goes_to_its_place_before_it_clicks(robot, game):
    send(robot, mouse=(0.5, -0.5), buttons={"left"})
    click = game.wait_for("down", button=1)
    assert abs(click["x"] - 0.75 * WIDTH) <= WIDTH / 64
    assert abs(click["y"] - 0.25 * HEIGHT) <= HEIGHT / 48


def test_it_sees_the_window_and_what_it_holds(robot):
    send(robot, mouse=(0.25, 0.0), keys={"w"})
    observation = wait_until(lambda: o if (o := robot.get_observation())["key.w.vel"] else None)
    assert observation["mouse.x.vel"] == 0.25
    assert observation.keys() == robot.observation_features.keys()
    assert observation["screen"].shape == (48, 64, 3)
    assert observation["screen"][10, 10].tolist() == [0xC0, 0x30, 0x20]


def test_a_key_held_for_long_is_no_person_though_it_repeats_itself(robot, game):
    keep_sending(robot, 1.2, keys={"w"})
    send(robot)
    game.wait_for("keyup", keysym=ord("w"))
    assert len([i for i in game.inputs if i["kind"] == "keydown"]) > 3
    assert not robot.is_in_a_persons_hands


def test_keys_come_up_when_no_more_actions_come(robot, game):
    send(robot, keys={"w"}, buttons={"left"})
    game.wait_for("keydown")
    game.wait_for("keyup", keysym=ord("w"))
    game.wait_for("up", button=1)
    assert not robot.is_in_a_persons_hands


def test_keys_come_up_when_it_is_disconnected(robot, game):
    send(robot, keys={"w", "shift"})
    game.wait_for("keydown", keysym=ord("w"))
    robot.disconnect()
    game.wait_for("keyup", keysym=ord("w"))
    game.wait_for("keyup", keysym=KEYSYMS["shift"])


@pytest.mark.parametrize("hand", ["key q", f"mousemove {LEFT + 20} {TOP + 20}", "click 3", "click 4"])
def test_a_persons_hand_interrupts(robot, game, screen, hand):
    keep_sending(robot, 0.2, mouse=(0.5, 0.5), keys={"w"})
    screen.do(hand)
    wait_until(lambda: robot.is_in_a_persons_hands)
    game.wait_for("keyup", keysym=ord("w"))
    game.forget()
    keep_sending(robot, 0.3, mouse=(-0.5, 0.5), keys={"w"})
    assert not [i for i in game.inputs if i["kind"] == "keydown"]


def test_the_hotkey_hands_over_and_back(robot, game, screen):
    screen.do("key F9")
    wait_until(lambda: robot.is_in_a_persons_hands)
    screen.do(f"keydown e mousemove {LEFT + WIDTH // 4} {TOP + HEIGHT // 2}")
    persons = wait_until(lambda: o if (o := robot.get_observation())["key.e.vel"] else None)
    persons = wait_until(lambda: o if (o := robot.get_observation())["mouse.x.vel"] < -0.4 else None)
    assert persons["mouse.x.vel"] == pytest.approx(-0.5, abs=0.05)
    screen.do("keyup e key F9")
    wait_until(lambda: not robot.is_in_a_persons_hands)
    game.forget()
    send(robot, keys={"w"})
    game.wait_for("keydown", keysym=ord("w"))


def test_the_mouse_goes_where_it_was_before_a_person_moved_it(robot, game, screen):
    send(robot, mouse=(0.5, 0.5))
    game.wait_for("move")
    screen.do(f"mousemove {LEFT + 5} {TOP + 5} key F9")  # the hand interrupts, the hotkey hands back
    wait_until(lambda: not robot.is_in_a_persons_hands)
    game.forget()
    send(robot, mouse=(0.5, 0.5))
    assert abs(game.wait_for("move")["x"] - 0.75 * WIDTH) <= WIDTH / 64


def test_nothing_moves_before_the_first_action(game, screen):
    screen.do(f"mousemove {LEFT + 5} {TOP + 5} sleep 0.1")
    game.forget()
    robot = make_robot()
    robot.connect()
    time.sleep(0.2)
    robot.disconnect()
    assert game.inputs == []


def test_a_teleoperator_beside_it_does_not_hear_what_it_presses(robot, game, screen):
    config_class = TeleoperatorConfig.get_choice_class("mouse_keyboard")
    teleop = make_teleoperator_from_config(config_class(window="A game", canvas_w=64, canvas_h=48))
    teleop.connect()
    teleop.get_action()
    keep_sending(robot, 0.3, mouse=(0.5, 0.5), keys={"w"}, buttons={"right"})
    game.wait_for("keydown", keysym=ord("w"))
    action = teleop.get_action()
    assert (action["key.w.vel"], action["button.right.vel"]) == (0, 0)
    assert action["mouse.x.vel"] == pytest.approx(0.5, abs=0.05)
    screen.do("key q")
    wait_until(lambda: teleop.get_action()["key.q.vel"] == 1)
    teleop.disconnect()


def test_a_game_that_moves_the_mouse_itself_need_not_interrupt(game, screen):
    robot = make_robot(interrupt=False)
    robot.connect()
    screen.do(f"mousemove {LEFT + 5} {TOP + 5} mousemove {LEFT + 200} {TOP + 200}")
    keep_sending(robot, 0.2, keys={"w"})
    assert not robot.is_in_a_persons_hands
    robot.disconnect()


def test_movements_are_made_once_and_from_where_the_mouse_is(game, screen):
    screen.do(f"mousemove {LEFT + 100} {TOP + 100}")
    robot = make_robot("delta")
    robot.connect()
    assert robot.channels == ActionSpace("delta").channels
    game.forget()
    send(robot, mouse=(0.25, 0.0))
    time.sleep(0.2)
    moves = [(i["x"], i["y"]) for i in game.inputs if i["kind"] == "move"]
    robot.disconnect()
    assert moves == [(100 + round(0.25 * WIDTH * 63 / 64), 100)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"mouse": "sideways"}, "absolute, delta, not 'sideways'"), ({"fps": 0}, "must be above 0")],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        make_robot(**settings)


def test_no_action_is_harmless_and_wrong_ones_are_named(robot):
    assert robot.send_action({}) == {}
    with pytest.raises(ValueError, match="finite"):
        send(robot, mouse=(np.nan, 0.0))
