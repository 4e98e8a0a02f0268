"""A screen that nobody sees, with a mouse and a keyboard that nobody holds, and a game in a window of it."""

import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lerobot_qwenvla.miniworld.system_packages import WINDOW

TITLE, BOX = "A game", (100, 50, 400, 300)
LONGEST_WAIT_S = 120


class Screen:
    """A screen without a window manager, and whoever sits before it."""

    def __init__(self, folder, *options):
        read_end, write_end = os.pipe()
        self._framebuffer = folder / "Xvfb_screen0"
        # Without -noreset the server starts anew whenever its last client leaves, and refuses whoever comes meanwhile.
        command = f"Xvfb -displayfd {write_end} -screen 0 800x800x24 -nolisten tcp -noreset -fbdir {folder}"
        self._server = subprocess.Popen([*command.split(), *options], pass_fds=[write_end], stderr=subprocess.DEVNULL)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            self.display = f":{pipe.readline().strip()}"

    def close(self):
        # For pynput the end of its display is an error; listeners that were stopped end with the next event.
        gc.collect()
        with contextlib.suppress(subprocess.CalledProcessError):
            self.do("mousemove_relative 1 1 key Shift_L")
        time.sleep(0.2)
        self._server.terminate()
        self._server.wait()

    def do(self, commands):
        """Commands of xdotool, one after the other."""
        self._xdotool(commands, check=True)

    def ask(self, commands):
        """Answer of xdotool, empty if it finds nothing."""
        return self._xdotool(commands, check=False).stdout.strip()

    def _xdotool(self, commands, check):
        environment = {**os.environ, "DISPLAY": self.display}
        command = ["xdotool", *commands.split()]
        return subprocess.run(command, env=environment, check=check, capture_output=True, text=True)

    def picture(self):
        """What is on the screen.  # (height, width, 3) uint8"""
        data = self._framebuffer.read_bytes()
        header = np.frombuffer(data, dtype=">u4", count=25)
        # An X window dump: header, color map of 12 bytes an entry, rows.
        offset, width, height = header[0] + 12 * header[19], header[4], header[5]
        bgrx = np.frombuffer(data, dtype=np.uint8, offset=int(offset)).reshape(height, width, 4)
        return bgrx[..., 2::-1]


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


@contextlib.contextmanager
def virtual_desktop(folder: Path) -> Iterator[Screen]:
    """A screen that is this process's display; without the programs for it, the test is skipped."""
    if not WINDOW.is_there():
        pytest.skip(WINDOW.remedy())
    with contextlib.closing(Screen(folder)) as screen, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", screen.display)
        for name in ("WAYLAND_DISPLAY", "XDG_SESSION_TYPE"):
            patch.delenv(name, raising=False)
        yield screen
