"""A person at the mouse and keyboard of an X server, as LeRobot's teleoperator."""

import pytest
from lerobot.teleoperators import TeleoperatorConfig, make_teleoperator_from_config

from lerobot_qwenvla.devices.robot_features import vector_of
from recordings_to_lerobot.actions.channels import CHANNEL_INDEX
from recordings_to_lerobot.actions.encoding import action_vector
from recordings_to_lerobot.actions.vocabulary import KEY_CODES
from tests.virtual_screen import BOX, wait_until

LEFT, TOP, WIDTH, HEIGHT = BOX
XDOTOOL = {"ctrl": "ctrl", "enter": "Return", "tab": "Tab", "escape": "Escape"}
XDOTOOL |= {name: name.capitalize() for name in ("up", "down", "left", "right")}


def make_teleop(mouse="absolute"):
    config_class = TeleoperatorConfig.get_choice_class("mouse_keyboard")
    return make_teleoperator_from_config(config_class(window="A game", canvas_w=64, canvas_h=48, mouse=mouse))


@pytest.fixture
def teleop(game, screen):
    screen.do(f"mousemove {LEFT + 200} {TOP + 150}")
    teleop = make_teleop()
    teleop.connect()
    teleop.get_action()
    yield teleop
    teleop.disconnect()


def act(teleop):
    return vector_of(teleop.get_action(), teleop.channels)


@pytest.mark.parametrize("name", KEY_CODES)
def test_every_key_is_one_action(teleop, screen, name):
    screen.do(f"key {XDOTOOL.get(name, name)}")
    held = wait_until(lambda: a if (a := act(teleop))[2:].any() else None)
    assert held[2:].nonzero()[0] + 2 == CHANNEL_INDEX[f"key.{name}"]
    assert not act(teleop)[2:].any()


def test_digits_are_themselves_with_shift_held(teleop, screen):
    screen.do("keydown shift keydown 2")
    held = wait_until(lambda: a if (a := act(teleop))[CHANNEL_INDEX["key.2"]] else None)
    assert held[CHANNEL_INDEX["key.shift"]]
    screen.do("keyup shift keyup 2")
    wait_until(lambda: not act(teleop)[2:].any())


def test_held_buttons_and_the_place_of_the_mouse(teleop, screen):
    screen.do(f"mousemove {LEFT + 300} {TOP + 75} mousedown 3")
    held = wait_until(lambda: a if (a := act(teleop))[CHANNEL_INDEX["button.right"]] else None)
    assert held[:2] == pytest.approx([0.5, -0.5], abs=0.06)
    assert act(teleop)[CHANNEL_INDEX["button.right"]]
    screen.do("mouseup 3")
    wait_until(lambda: not act(teleop)[2:].any())


def test_a_wheel_is_no_action(teleop, screen):
    screen.do("click 4 key e")
    held = wait_until(lambda: a if (a := act(teleop))[2:].any() else None)
    assert held[2:].tolist() == action_vector(keys={"e"})[2:].tolist()


def test_movements_are_told_once_and_add_up(game, screen):
    screen.do(f"mousemove {LEFT + 100} {TOP + 100}")
    teleop = make_teleop("delta")
    teleop.connect()
    assert not act(teleop).any()
    screen.do(f"mousemove {LEFT + 200} {TOP + 100}")
    told = []
    wait_until(lambda: told.append(act(teleop)[0]) or sum(told) >= 0.25)
    assert sum(told) == pytest.approx((32 - 16) / 63, abs=1e-6)
    wait_until(lambda: not act(teleop).any())
    teleop.disconnect()


def test_the_window_may_open_after_it_is_connected(screen, game):
    teleop = make_teleop()
    teleop.config.window = "No such game"
    teleop.connect()
    assert teleop.is_connected
    with pytest.raises(ValueError, match="no window has it"):
        teleop.get_action()
    teleop.disconnect()
    assert not teleop.is_connected
