"""What a person does with the desktop's mouse and keyboard, as events on a canvas."""

import threading
from collections.abc import Callable, Mapping
from typing import Self

from lerobot_qwenvla.devices.desktop.echoes import Echoes
from lerobot_qwenvla.devices.desktop.keys import button_name, symbol_of
from lerobot_qwenvla.devices.desktop.region import Box
from lerobot_qwenvla.devices.desktop.support import require_trust
from lerobot_qwenvla.devices.input_device import InputEvent
from lerobot_qwenvla.devices.input_log import InputLog
from lerobot_qwenvla.devices.window_keys import code_of_symbol
from recordings_to_lerobot.actions.vocabulary import KEY_OF_CODE


class DesktopListener:
    """Logs a person's input anywhere on the desktop, but not this program's own."""

    def __init__(
        self,
        box: Callable[[], Box],
        canvas_px: tuple[int, int],
        *,
        hotkeys: Mapping[str, Callable[[], None]] | None = None,
        on_input: Callable[[], None] = lambda: None,
    ):
        """Prepare it.

        Args:
            box: Tells where on the screen the canvas is shown.
            canvas_px: Its width and height.
            hotkeys: What to call when a key goes down, by its name in capitals (`F9`); these keys are not logged.
            on_input: Called at once, in the listener's thread, for each thing that the person does.
        """
        self._box, self._canvas_px = box, canvas_px
        self._hotkeys, self._on_input = dict(hotkeys or {}), on_input
        self._echoes = Echoes()
        self._log = InputLog(canvas_px)
        self._lock = threading.Lock()  # two threads of pynput's log, a third one reads

    def __enter__(self) -> Self:
        """Begin to listen.

        Raises:
            NoDesktopError: It is not allowed to.
        """
        from pynput import keyboard, mouse

        self._threads = [
            mouse.Listener(on_move=self._on_move, on_click=self._on_click, on_scroll=self._on_scroll),
            keyboard.Listener(on_press=self._on_press, on_release=self._on_release),
        ]
        for thread in self._threads:
            thread.start()
            thread.wait()
            require_trust(thread)
        x, y = mouse.Controller().position
        with self._lock:
            self._log.move_mouse(self._box().to_canvas(x, y, self._canvas_px))
        return self

    def __exit__(self, *error: object) -> None:
        # On X11 they end with the next event that reaches them, which may be long; so nobody waits for them.
        for thread in self._threads:
            thread.stop()

    def take_before(self, tick: int) -> list[InputEvent]:
        """Hand out the events before `tick`."""
        with self._lock:
            return self._log.take_before(tick)

    def restart(self, tick: int) -> None:
        """Forget what happened; the only events now say, at `tick`, what is held."""
        with self._lock:
            self._log.restart(tick)

    # What pynput calls. Where `injected` is known, it is true of what any program has sent.

    def _on_move(self, x: float, y: float, injected: bool) -> None:
        # Whoever moved it, there it is.
        with self._lock:
            self._log.move_mouse(self._box().to_canvas(x, y, self._canvas_px))
        position_px = (round(x), round(y))
        if not (injected or self._echoes.is_own_move(position_px) or self._echoes.is_bump(position_px)):
            self._on_input()

    def _on_click(self, x: float, y: float, button, is_down: bool, injected: bool) -> None:
        name = button_name(button)
        if injected or name is None or self._echoes.is_own_press(f"button.{name}", is_down):
            return
        with self._lock:
            self._log.move_mouse(self._box().to_canvas(x, y, self._canvas_px))
            (self._log.press_button if is_down else self._log.release_button)(name)
        self._on_input()

    def _on_scroll(self, x: float, y: float, dx: int, dy: int, injected: bool) -> None:
        if not injected:
            with self._lock:
                self._log.scroll(dx, dy)
            self._on_input()

    def _on_press(self, key, injected: bool) -> None:
        symbol = self._symbol(key, True, injected)
        if symbol in self._hotkeys:
            self._hotkeys[symbol]()
        elif symbol:
            with self._lock:
                self._log.press_key(symbol)
            self._on_input()

    def _on_release(self, key, injected: bool) -> None:
        symbol = self._symbol(key, False, injected)
        if symbol and symbol not in self._hotkeys:
            with self._lock:
                self._log.release_key(symbol)
            self._on_input()

    def _symbol(self, key, is_down: bool, injected: bool) -> str | None:
        """Name of a key that the person pressed, None for other keys and what this program pressed."""
        symbol = symbol_of(key)
        if injected or symbol is None:
            return None
        name = KEY_OF_CODE.get(code_of_symbol(symbol))
        return None if name and self._echoes.is_own_press(f"key.{name}", is_down) else symbol
