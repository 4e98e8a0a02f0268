"""A screen that nobody sees, with a mouse and a keyboard that nobody holds."""

import os
import subprocess

import numpy as np


class Screen:
    """A screen without a window manager, and whoever sits before it."""

    def __init__(self, folder, *options):
        read_end, write_end = os.pipe()
        self._framebuffer = folder / "Xvfb_screen0"
        command = f"Xvfb -displayfd {write_end} -screen 0 800x800x24 -nolisten tcp -fbdir {folder}"
        self._server = subprocess.Popen([*command.split(), *options], pass_fds=[write_end], stderr=subprocess.DEVNULL)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            self.display = f":{pipe.readline().strip()}"

    def close(self):
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
