"""A real-time Miniworld in a process of its own.

It goes on while its player loads a policy or computes an action, and OpenGL stays in the one thread it needs, wherever
LeRobot calls the robot from.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from lerobot_qwenvla.devices.executor import ExecutionConfig, Executor, RealTimeExecutor
from lerobot_qwenvla.miniworld.configuration_miniworld import start_method
from lerobot_qwenvla.miniworld.robot.real_time_world import EpisodeResult, RealTimeWorld
from recordings_to_lerobot.actions.channels import CHANNELS

# Importing LeRobot can take this long on a busy machine.
LONGEST_START_S = 180
LONGEST_END_S = 10


@dataclass(frozen=True)
class WorldSettings:
    """What a world's process is started with.

    Attributes:
        env: Arguments of `MiniworldEnv`.
        execution: Thresholds and smoothing of the actions.
        fps: Ticks a second.
        first_seed: Of the first episode; the others follow it.
        window: Whether a person sees it.
        display: On which display; the server that processes are forked from may have begun before there was one.
    """

    env: dict[str, Any]
    execution: ExecutionConfig
    fps: float
    first_seed: int
    window: bool
    display: str | None = None


class _Latest:
    """Screen and state of the last tick, in memory that both processes see."""

    def __init__(self, context: multiprocessing.context.BaseContext, screen_shape: tuple[int, int, int]):
        self._lock = context.Lock()
        self._shape = screen_shape
        self._screen = context.RawArray("B", int(np.prod(screen_shape)))
        self._state = context.RawArray("f", len(CHANNELS))

    def write(self, screen: np.ndarray, state: np.ndarray) -> None:
        with self._lock:
            self._arrays()[0][:] = screen
            self._arrays()[1][:] = state

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            screen, state = self._arrays()
            return screen.copy(), state.copy()

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        screen = np.frombuffer(self._screen, dtype=np.uint8).reshape(self._shape)
        return screen, np.frombuffer(self._state, dtype=np.float32)


class WorldProcess:
    """Starts the world and speaks with it.

    Attributes:
        results: How the episodes ended that have ended so far.
    """

    def __init__(self, settings: WorldSettings):
        """Start it and wait for its first picture.

        Raises:
            ValueError: Unknown task or variation, or a canvas or budget that is too small.
            OpenGLMissingError: A system library is missing.
            NoDisplayError: A window is wanted where none can be opened.
        """
        context = multiprocessing.get_context(start_method())
        if start_method() == "forkserver":
            # The server imports LeRobot once, instead of each world for itself.
            multiprocessing.set_forkserver_preload([__name__])
        shape = (settings.env["canvas_h"], settings.env["canvas_w"], 3)
        self._latest = _Latest(context, shape)
        self.results: list[EpisodeResult] = []
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_live, args=(settings, theirs, self._latest), name="miniworld", daemon=True
        )
        self._process.start()
        theirs.close()
        first = self._hear(LONGEST_START_S)
        if isinstance(first, Exception):
            self.close()
            raise first

    def observe(self) -> tuple[np.ndarray, np.ndarray]:
        """Screen (canvas_h, canvas_w, 3) uint8 and state (len(CHANNELS),) float32 of the last tick.

        Raises:
            RuntimeError: The world has ended.
        """
        with contextlib.suppress(EOFError, ConnectionError):
            while self._connection.poll():
                self.results.append(self._connection.recv())
        if not self._process.is_alive():
            raise RuntimeError("The world has ended: its window was closed, or its process died; connect again.")
        return self._latest.read()

    def send(self, action: np.ndarray) -> None:
        """An action (len(CHANNELS),) for the next tick.

        Raises:
            RuntimeError: The world has ended.
        """
        try:
            self._connection.send(action)
        except ConnectionError as error:
            raise RuntimeError("The world has ended: its window was closed, or its process died.") from error

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self._process.join(LONGEST_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _hear(self, timeout_s: float) -> Any:
        try:
            if self._connection.poll(timeout_s):
                return self._connection.recv()
        except EOFError:
            return RuntimeError("The world's process died while it started.")
        return RuntimeError(f"The world has not started within {timeout_s} s.")


def _live(settings: WorldSettings, connection: Connection, latest: _Latest) -> None:
    """What the process does: until the other end of the connection closes, or the window does."""
    # Ctrl-C goes to all processes of a terminal; the one that started this ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from lerobot_qwenvla.miniworld.environment import MiniworldEnv
    from lerobot_qwenvla.miniworld.screen_window import ScreenWindow
    from lerobot_qwenvla.miniworld.worlds import use_display

    period_s = 1 / settings.fps
    executor = RealTimeExecutor(Executor(settings.execution), period_s)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(EOFError, ConnectionError))
        try:
            if settings.window:
                os.environ |= {"DISPLAY": settings.display} if settings.display else {}
                use_display()
            env = stack.enter_context(contextlib.closing(MiniworldEnv(**settings.env)))
            world = RealTimeWorld(env, executor, settings.first_seed)
            window = stack.enter_context(ScreenWindow(env.canvas_px, "Miniworld")) if settings.window else None
        except Exception as error:
            connection.send(error)
            return
        latest.write(world.screen, world.state)
        connection.send("ready")
        next_tick_s = time.monotonic() + period_s
        while window is None or not window.is_closed:
            while connection.poll(max(0.0, next_tick_s - time.monotonic())):
                executor.send(connection.recv())
            if result := world.tick():
                connection.send(result)
            latest.write(world.screen, world.state)
            if window:
                window.show(world.screen)
                window.say(f"Miniworld: {world.task}")
                window.dispatch()
            # A tick that comes late is not made up for by a shorter one.
            next_tick_s = max(next_tick_s + period_s, time.monotonic())
