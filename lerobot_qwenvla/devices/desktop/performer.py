"""Performs actions on the desktop in a thread of its own, until a person takes over."""

import logging
import threading
from typing import Self

import numpy as np

from lerobot_qwenvla.devices.desktop.hands import Hands
from lerobot_qwenvla.devices.executor import RealTimeExecutor

logger = logging.getLogger(__name__)


class Performer:
    """Context manager that ends with all keys up.

    Attributes:
        is_interrupted: Whether a person has mouse and keyboard.
    """

    def __init__(self, executor: RealTimeExecutor, hands: Hands, period_s: float):
        """Performs with these hands what the executor says, once a period."""
        self._executor, self._hands, self._period_s = executor, hands, period_s
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="performer", daemon=True)
        self.is_interrupted = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        with self._lock:
            self._hands.let_go()

    @property
    def state(self) -> np.ndarray:
        """What is held.  # (len(channels),) float32"""
        return self._executor.state

    def send(self, action: np.ndarray) -> None:
        """An action (len(channels),) to perform, in vain while a person has mouse and keyboard.

        Raises:
            ValueError: Wrong shape, or a value that is not finite.
            RuntimeError: The desktop does not answer any more.
        """
        if not self._thread.is_alive():
            raise RuntimeError("Mouse and keyboard cannot be reached any more; see the log, and connect again.")
        self._executor.send(action)

    def interrupt(self) -> None:
        """Let go at once and leave mouse and keyboard to a person; from any thread."""
        if self.is_interrupted:
            return
        with self._lock:
            self.is_interrupted = True
            self._executor.let_go()
            self._hands.let_go()
        logger.warning("A person has taken mouse and keyboard; the hotkey hands them back.")

    def toggle(self) -> None:
        """Interrupt, or go on."""
        if not self.is_interrupted:
            self.interrupt()
            return
        with self._lock:
            self._executor.let_go()
            self._hands.lose_mouse()
            self.is_interrupted = False
        logger.warning("Mouse and keyboard are the policy's again.")

    def _run(self) -> None:
        while not self._ended.wait(self._period_s):
            with self._lock:
                if self._executor.has_begun and not self.is_interrupted:
                    self._hands.hold(self._executor.tick())
