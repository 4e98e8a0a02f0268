"""Stock Miniworld worlds that can live side by side in one process."""

import contextlib
import functools
import importlib
import io
import os
import sys
import weakref

from lerobot_qwenvla.miniworld.system_packages import OPENGL


class OpenGLMissingError(RuntimeError):
    """The system libraries that Miniworld draws with are not installed."""


class NoDisplayError(RuntimeError):
    """There is no screen to open a window on."""


@functools.cache
def use_display() -> None:
    """Let this process open windows; to be called before its first world is made.

    Raises:
        NoDisplayError: There is no display; the message says what to do.
        OpenGLMissingError: A system library is missing; the message holds the command that installs it.
    """
    if not _draws_without_display():
        return
    display = os.environ.get("DISPLAY")
    remedy = "run this in a terminal of the desktop that shall show it"
    if not display:
        raise NoDisplayError(f"A window needs a display, but DISPLAY is not set; {remedy}.")
    _require_libraries()
    assert "pyglet.gl" not in sys.modules, "pyglet has chosen already to draw without a display"
    try:
        # Connects to the display; from here on, pyglet draws on it.
        importlib.import_module("pyglet.window")
    except Exception as error:
        # Pyglet has an exception of its own for each way in which this fails.
        problem = f"{display} (DISPLAY) cannot show one: {error}"
        raise NoDisplayError(f"A window needs a display, but {problem}; {remedy}.") from error


@functools.cache
def world_class(path: str) -> type:
    """Subclass of the stock world at `module:Class` whose pictures do not depend on other worlds.

    Raises:
        OpenGLMissingError: A system library is missing; the message holds the command that installs it.
    """
    _require_libraries()
    _use_headless_pyglet()
    module, name = path.split(":")
    stock_class = getattr(importlib.import_module(module), name)
    return type(name, (OwnPictures, stock_class), {})


def _require_libraries() -> None:
    # Elsewhere OpenGL is part of the system.
    if _draws_without_display() and not OPENGL.is_there():
        raise OpenGLMissingError(OPENGL.remedy())


def _draws_without_display() -> bool:
    return sys.platform.startswith("linux")


def _use_headless_pyglet() -> None:
    import pyglet

    # Pyglet reads the option when its `gl` module is first imported, which `use_display` may have done.
    if _draws_without_display() and "pyglet.gl" not in sys.modules:
        pyglet.options["headless"] = True


@functools.cache
def _anchor_window():
    """A window that is never closed: textures that all worlds share live as long as one context does."""
    import pyglet

    return pyglet.window.Window(width=1, height=1, visible=False)


class OwnPictures:
    """Mix-in for stock worlds that keeps their OpenGL objects apart.

    Miniworld compiles walls and floors into display list number 1, and the contexts of one process share
    their display lists, so that the world reset last would lend its walls to all others. Here a world
    compiles its walls again before it draws if another one has compiled since.
    """

    _last_compiled: weakref.ref | None = None

    def __init__(self, **kwargs):
        _anchor_window().switch_to()
        # Upstream prints, once per frame buffer, how many samples a pixel the driver offers.
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(**kwargs)

    def reset(self, **kwargs):
        # Upstream compiles into whatever context is current, which may be that of a closed world.
        self.shadow_window.switch_to()
        return super().reset(**kwargs)

    def _render_static(self):
        super()._render_static()
        OwnPictures._last_compiled = weakref.ref(self)

    def _render_world(self, frame_buffer, render_agent):
        if OwnPictures._last_compiled() is not self:
            self._render_static()
        return super()._render_world(frame_buffer, render_agent)

    def close(self):
        super().close()
        self.shadow_window.close()
        _anchor_window().switch_to()
