"""A window that shows a canvas."""

from typing import Self

import numpy as np

# Fits a small laptop's screen; the canvas is enlarged to it in whole pixels.
LARGEST_PX = 800


class ScreenWindow:
    """Shows the canvas; closing it is a wish that whoever shows it may heed.

    Attributes:
        is_closed: Whether the person has closed it.
    """

    def __init__(self, canvas_px: tuple[int, int], title: str):
        """Open a window for a canvas (width, height); `worlds.use_display` comes first."""
        import pyglet

        scale = max(1, LARGEST_PX // max(canvas_px))
        width_px, height_px = (size * scale for size in canvas_px)
        # Waiting for the screen's refresh would stamp the events of that time late.
        self._window = pyglet.window.Window(width_px, height_px, caption=title, vsync=False)
        self._texture = pyglet.image.Texture.create(*canvas_px, mag_filter=pyglet.gl.GL_NEAREST)
        self._window.push_handlers(self)
        self.is_closed = False

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
        """Take notice of what happened since the last call."""
        self._window.switch_to()
        self._window.dispatch_events()

    def _draw(self) -> None:
        self._window.clear()
        self._texture.blit(0, 0, width=self._window.width, height=self._window.height)
        self._window.flip()

    # What pyglet calls; True keeps it from its own answers, such as closing the window.

    def on_key_press(self, symbol: int, modifiers: int) -> bool:
        return True

    def on_expose(self) -> None:
        self._draw()

    def on_close(self) -> bool:
        self.is_closed = True
        return True
