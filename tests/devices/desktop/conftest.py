"""A desktop with a game in a window."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lerobot_qwenvla.miniworld.system_packages import WINDOW
from tests.virtual_screen import Screen

TITLE, BOX = "A game", (100, 50, 400, 300)
LONGEST_WAIT_S = 30


class Game:
    """The game in its process, and what it has told of its input."""

    def __init__(self):
        program = Path(__file__).with_name("x_game.py")
        arguments = [TITLE, *map(str, BOX)]
        self._process = subprocess.Popen([sys.executable, program, *arguments], stdout=subprocess.PIPE, text=True)
        assert json.loads(self._process.stdout.readline()) == {"kind": "ready"}
        self.inputs = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self.inputs.append(json.loads(line))

    def wait_for(self, kind, **fields):
        """The first input of this kind since the last `forget`."""
        return wait_until(lambda: next((i for i in self.inputs if i.items() >= {"kind": kind, **fields}.items()), None))

    def forget(self):
        self.inputs.clear()

    def close(self):
        self._process.kill()
        self._process.wait()


def wait_until(find):
    """What `find` finds, once it is neither None nor False."""
    deadline_s = time.monotonic() + LONGEST_WAIT_S
    while (found := find()) is None or found is False:
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    return found


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    if not WINDOW.is_there():
        pytest.skip(WINDOW.remedy())
    screen = Screen(tmp_path_factory.mktemp("screen"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", screen.display)
        for name in ("WAYLAND_DISPLAY", "XDG_SESSION_TYPE"):
            patch.delenv(name, raising=False)
        yield screen
    screen.do("mousemove 1 1 mousemove 2 2 sleep 0.2")  # pynput's threads end with an event
    screen.close()


@pytest.fixture(scope="module")
def running_game(screen):
    game = Game()
    yield game
    game.close()


@pytest.fixture
def game(running_game):
    running_game.forget()
    return running_game
