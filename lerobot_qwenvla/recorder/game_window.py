"""The window in which a person plays."""

import enum
from typing import Self

import numpy as np

from lerobot_qwenvla.recorder.input_log import InputLog, canvas_position

# Fits a small laptop's screen; the canvas is enlarged to it in whole pixels.
LARGEST_PX = 800


class Wish(enum.Enum):
    """What the person wants of the recorder instead of the game."""

    RESTART = enum.auto()
    END = enum.auto()


class GameWindow:
    """Shows the canvas and logs what mouse and keyboard do over it.

    Attributes:
        log: The logged input.
        wish: What the person wants of the recorder; whoever fulfils it sets it back to None.
    """

    def __init__(self, canvas_px: tuple[int, int]):
        """Open a window for a canvas (width, height); `worlds.use_display` comes first."""
        import pyglet

        scale = max(1, LARGEST_PX // max(canvas_px))
        width_px, height_px = (size * scale for size in canvas_px)
        # Waiting for the screen's refresh would stamp the events of that time late.
        self._window = pyglet.window.Window(width_px, height_px, caption="qwenvla-record", vsync=False)
        self._texture = pyglet.image.Texture.create(*canvas_px, mag_filter=pyglet.gl.GL_NEAREST)
        self._window.push_handlers(self)
        self._canvas_px = canvas_px
        self.log = InputLog(canvas_px)
        self.wish: Wish | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._window.close()

    def show(self, screen: np.ndarray) -> None:
        """Draw a screen (canvas_h, canvas_w, 3) uint8."""
        import pyglet

        height, width, _ = screen.shape
        # OpenGL's pictures begin with the lowest row.
        picture = pyglet.image.ImageData(width, height, "RGB", np.flipud(screen).tobytes())
        self._window.switch_to()
        self._texture.blit_into(picture, 0, 0, 0)
        self._draw()

    def say(self, text: str) -> None:
        """Write into the title bar."""
        self._window.set_caption(text)

    def dispatch(self) -> None:
        """Log what happened since the last call."""
        self._window.switch_to()
        self._window.dispatch_events()

    def _draw(self) -> None:
        self._window.clear()
        self._texture.blit(0, 0, width=self._window.width, height=self._window.height)
        self._window.flip()

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

    def on_expose(self) -> None:
        self._draw()

    def on_close(self) -> bool:
        self.wish = Wish.END
        return True


def _button_name(button: int) -> str | None:
    """The vocabulary's name of a pyglet button, None for those of other mice."""
    from pyglet.window import mouse

    return {mouse.LEFT: "left", mouse.RIGHT: "right", mouse.MIDDLE: "middle"}.get(button)
