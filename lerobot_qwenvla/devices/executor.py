"""Performs actions: what mouse and keyboard hold after each, and that they let go when none comes any more."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lerobot_qwenvla.devices.input_state import PRESSED_ABOVE, checked_action
from recordings_to_lerobot.actions.channels import CHANNELS, MOUSE_CHANNELS

N_MOUSE = len(MOUSE_CHANNELS)
# So many ticks without an action, and whoever sends them has stalled.
STALL_TICKS = 3


@dataclass
class ExecutionConfig:
    """How actions become what is held."""

    # A button or key goes down above this.
    press_above: float = PRESSED_ABOVE
    # It comes up at or below this; lower than `press_above`, a key does not flutter around one threshold.
    release_below: float = PRESSED_ABOVE
    # How much of the mouse's way to the next position it holds back, in [0, 1).
    smoothing: float = 0.0

    def __post_init__(self):
        if not 0 <= self.release_below <= self.press_above <= 1:
            raise ValueError(
                f"release_below={self.release_below} and press_above={self.press_above}: "
                "need 0 <= release_below <= press_above <= 1"
            )
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing={self.smoothing}: need 0 <= smoothing < 1")


class Executor:
    """What mouse and keyboard hold, action by action.

    Attributes:
        channels: Names of the channels, the two of the mouse first.
        state: What is held now: mouse in [-1, 1], the rest 0 or 1.  # (len(channels),) float32
    """

    def __init__(self, config: ExecutionConfig | None = None, channels: tuple[str, ...] = CHANNELS):
        self.channels = channels
        self._config = config or ExecutionConfig()
        self.reset()

    def reset(self) -> None:
        """Nothing held, the mouse at the centre."""
        self.state = np.zeros(len(self.channels), dtype=np.float32)

    def perform(self, action: np.ndarray) -> np.ndarray:
        """State after an action (len(channels),) of any real dtype.  # (len(channels),) float32

        Raises:
            ValueError: Wrong shape, or a value that is not finite.
        """
        action = checked_action(action, self.channels)
        was_held = self.state[N_MOUSE:] > 0
        threshold = np.where(was_held, self._config.release_below, self._config.press_above)
        state = np.empty_like(self.state)
        state[N_MOUSE:] = action[N_MOUSE:] > threshold
        state[:N_MOUSE] = np.clip(action[:N_MOUSE], -1.0, 1.0)
        if self._config.smoothing:
            state[:N_MOUSE] += self._config.smoothing * (self.state[:N_MOUSE] - state[:N_MOUSE])
        self.state = state
        return state

    def hold(self) -> np.ndarray:
        """State while no new action comes: as before, but a movement is made only once.  # (len(channels),) float32"""
        if self.channels[:N_MOUSE] != MOUSE_CHANNELS:
            self.state = self.state.copy()
            self.state[:N_MOUSE] = 0
        return self.state

    def let_go(self) -> np.ndarray:
        """State with all buttons and keys up and the mouse where it is.  # (len(channels),) float32"""
        state = np.zeros_like(self.state)
        state[:N_MOUSE] = self.hold()[:N_MOUSE]
        self.state = state
        return state


class RealTimeExecutor:
    """An executor between a thread that sends actions whenever it has one and a device that runs at its own rate.

    The device calls `tick` once a period and so limits the rate: of the actions sent since, the last one says where
    the mouse goes, and what any of them presses is pressed. Once no action has come for `STALL_TICKS` periods, all
    is let go.

    Attributes:
        stalled_ticks: How many ticks passed without an action after the first one had come.
    """

    def __init__(self, executor: Executor, period_s: float, clock: Callable[[], float] = time.monotonic):
        self._executor = executor
        # Ticks come a little early or late.
        self._stall_s = (STALL_TICKS - 0.5) * period_s
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: np.ndarray | None = None
        self._last_sent_s: float | None = None
        self.stalled_ticks = 0

    @property
    def state(self) -> np.ndarray:
        """What is held now.  # (len(channels),) float32"""
        return self._executor.state

    @property
    def has_begun(self) -> bool:
        """Whether an action has come, since the start or the last `let_go`."""
        return self._last_sent_s is not None

    def send(self, action: np.ndarray) -> None:
        """An action for the next tick.

        Raises:
            ValueError: Wrong shape, or a value that is not finite.
        """
        action = checked_action(action, self._executor.channels)
        with self._lock:
            if self._pending is not None:
                action[N_MOUSE:] = np.maximum(action[N_MOUSE:], self._pending[N_MOUSE:])
                if self._executor.channels[:N_MOUSE] != MOUSE_CHANNELS:  # movements add up
                    action[:N_MOUSE] += self._pending[:N_MOUSE]
            self._pending = action
            self._last_sent_s = self._clock()

    def tick(self) -> np.ndarray:
        """What shall be held in the period that begins.  # (len(channels),) float32"""
        with self._lock:
            action, self._pending = self._pending, None
            last_sent_s = self._last_sent_s
            if action is not None:
                return self._executor.perform(action)
            if last_sent_s is None:
                return self._executor.state
            self.stalled_ticks += 1
            is_stalled = self._clock() - last_sent_s >= self._stall_s
            return self._executor.let_go() if is_stalled else self._executor.hold()

    def let_go(self) -> np.ndarray:
        """All buttons and keys up; what was sent and not yet performed is forgotten.  # (len(channels),) float32"""
        with self._lock:
            self._pending = self._last_sent_s = None
            return self._executor.let_go()
