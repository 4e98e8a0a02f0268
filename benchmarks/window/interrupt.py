"""How soon all keys are up once a person touches the keyboard, measured by the game, in a window of a virtual X server.

    python benchmarks/window/interrupt.py [--turns=20]

Each turn the window robot holds W. "Hand": a person presses Q, and the game tells how long after that key W came up.
"Watchdog": nobody does anything, actions merely stop coming; from the last one to W coming up. Both alternate. Prints
one JSON line: medians and maxima in milliseconds, and `over_watchdog`, the median ratio.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from lerobot_qwenvla.devices.desktop.config_window_robot import WindowRobotConfig
from lerobot_qwenvla.devices.desktop.window_robot import WindowRobot
from lerobot_qwenvla.devices.robot_features import values_of
from recordings_to_lerobot.actions.encoding import action_vector

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from virtual_screen import TITLE, Game, Screen, virtual_desktop, wait_until

W, Q = ord("w"), ord("q")


def hold(robot: WindowRobot, game: Game) -> float:
    """The robot holds W; returns when it was last told to."""
    game.forget()
    for _ in range(3):
        sent_s = time.monotonic()
        robot.send_action(values_of(action_vector(keys={"w"}), robot.channels))
        time.sleep(0.05)
    game.wait_for("keydown", keysym=W)
    return sent_s


def hand_ms(robot: WindowRobot, game: Game, screen: Screen) -> float:
    hold(robot, game)
    screen.do("key q")
    up_s = game.wait_for("keyup", keysym=W)["s"]
    taken_ms = (up_s - game.wait_for("keydown", keysym=Q)["s"]) * 1000
    assert robot.is_in_a_persons_hands, "the watchdog was faster than the person"
    screen.do("key F9")
    wait_until(lambda: not robot.is_in_a_persons_hands)
    return taken_ms


def watchdog_ms(robot: WindowRobot, game: Game) -> float:
    sent_s = hold(robot, game)
    return (game.wait_for("keyup", keysym=W)["s"] - sent_s) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=20)
    turns = range(parser.parse_args().turns)
    with tempfile.TemporaryDirectory() as folder, virtual_desktop(Path(folder)) as screen:
        robot = WindowRobot(WindowRobotConfig(window=TITLE, canvas_w=64, canvas_h=48))
        with contextlib.closing(Game()) as game, robot:
            pairs = [(hand_ms(robot, game, screen), watchdog_ms(robot, game)) for _ in turns]
    hands, watchdogs = zip(*pairs, strict=True)
    result = {
        "hand_ms": median(hands),
        "hand_max_ms": max(hands),
        "watchdog_ms": median(watchdogs),
        "watchdog_max_ms": max(watchdogs),
        "over_watchdog": median(hand / watchdog for hand, watchdog in pairs),
        "turns": len(pairs),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
