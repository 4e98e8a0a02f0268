"""The window in which a person plays."""

import enum

from lerobot_qwenvla.devices.input_log import InputLog, canvas_position
from lerobot_qwenvla.miniworld.screen_window import ScreenWindow


class Wish(enum.Enum):
    """What the person wants of the recorder instead of the game."""

    RESTART = enum.auto()
    END = enum.auto()


class GameWindow(ScreenWindow):
    """Shows the canvas and logs what mouse and keyboard do over it.

    Attributes:
        log: The logged input.
        wish: What the person wants of the recorder; whoever fulfils it sets it back to None.
    """

    def __init__(self, canvas_px: tuple[int, int]):
        """Open a window for a canvas (width, height); `worlds.use_display` comes first."""
        super().__init__(canvas_px, "qwenvla-record")
        self._canvas_px = canvas_px
        self.log = InputLog(canvas_px)
        self.wish: Wish | None = None

    # What pyglet calls; True keeps it from its own answers, such as closing the window.

    def on_key_press(self, symbol: int, modifiers: int) -> bool:
        from pyglet.window import key

        if symbol == key.ESCAPE:
            self.wish = Wish.END
        elif symbol == key.BACKSPACE:
            self.wish = self.wish or Wish.RESTART
        else:
            self.log.press_key(key.symbol_string(symbol))
        return True

    def on_key_release(self, symbol: int, modifiers: int) -> None:
        from pyglet.window import key

        self.log.release_key(key.symbol_string(symbol))

    def on_mouse_motion(self, x: int, y: int, dx: int, dy: int) -> None:
        # A window manager may have changed the size.
        self.log.move_mouse(canvas_position(x, y, self._window.get_size(), self._canvas_px))

    def on_mouse_drag(self, x: int, y: int, dx: int, dy: int, buttons: int, modifiers: int) -> None:
        self.on_mouse_motion(x, y, dx, dy)

    def on_mouse_enter(self, x: int, y: int) -> None:
        self.on_mouse_motion(x, y, 0, 0)

    # Pyglet's own position of a button event is one pixel off; the moves before it said where the mouse is.

    def on_mouse_press(self, x: int, y: int, button: int, modifiers: int) -> None:
        if name := _button_name(button):
            self.log.press_button(name)

    def on_mouse_release(self, x: int, y: int, button: int, modifiers: int) -> None:
        if name := _button_name(button):
            self.log.release_button(name)

    def on_deactivate(self) -> None:
        self.log.release_all_keys()
        # Under X11 pyglet would take the next press of these keys for a repetition.
        getattr(self._window, "pressed_keys", set()).clear()

    def on_close(self) -> bool:
        self.wish = Wish.END
        return True


def _button_name(button: int) -> str | None:
    """The vocabulary's name of a pyglet button, None for those of other mice."""
    from pyglet.window import mouse

    return {mouse.LEFT: "left", mouse.RIGHT: "right", mouse.MIDDLE: "middle"}.get(button)
