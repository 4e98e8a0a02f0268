"""Hands of this program on the desktop's mouse and keyboard."""

import numpy as np

from lerobot_qwenvla.devices.commands import Move, Press, commands_between
from lerobot_qwenvla.devices.desktop.echoes import announce_move, announce_press
from lerobot_qwenvla.devices.desktop.keys import pynput_button, pynput_key
from lerobot_qwenvla.devices.desktop.region import ScreenRegion
from recordings_to_lerobot.actions.channels import MOUSE_DELTA_CHANNELS


class Hands:
    """Moves, presses and holds; used from one thread at a time."""

    def __init__(self, region: ScreenRegion, canvas_px: tuple[int, int], channels: tuple[str, ...]):
        """Hands that hold nothing, over a region that shows a canvas (width, height)."""
        from pynput import keyboard, mouse

        self._region, self._canvas_px, self._channels = region, canvas_px, channels
        self._is_delta = channels[:2] == MOUSE_DELTA_CHANNELS
        self._mouse, self._keyboard = mouse.Controller(), keyboard.Controller()
        self._held = np.zeros(len(channels), dtype=np.float32)
        self.lose_mouse()

    def lose_mouse(self) -> None:
        """Someone else may have moved it: the next state moves it wherever it is."""
        self._held[:2] = np.nan

    def hold(self, state: np.ndarray) -> None:
        """Do what it takes to hold this state (len(channels),)."""
        for command in commands_between(self._held, state, self._channels):
            self._move(command) if isinstance(command, Move) else self._press(command)
        self._held = state.copy()

    def let_go(self) -> None:
        """All buttons and keys up; the mouse stays."""
        for channel in np.flatnonzero(self._held[2:] > 0) + 2:
            self._press(Press(self._channels[channel], False))
        self._held[2:] = 0

    def _move(self, move: Move) -> None:
        box = self._region.box
        if self._is_delta:
            x_px, y_px = self._mouse.position
            scale = [own / size * (size - 1) for own, size in zip(box.size_px, self._canvas_px, strict=True)]
            target_px = (round(x_px + move.x * scale[0]), round(y_px + move.y * scale[1]))
        else:
            target_px = box.to_screen(move.x, move.y, self._canvas_px)
        announce_move(target_px)
        self._mouse.position = target_px

    def _press(self, press: Press) -> None:
        kind, _, name = press.channel.partition(".")
        controller, what = (
            (self._mouse, pynput_button(name)) if kind == "button" else (self._keyboard, pynput_key(name))
        )
        announce_press(press.channel, press.is_down)
        (controller.press if press.is_down else controller.release)(what)
