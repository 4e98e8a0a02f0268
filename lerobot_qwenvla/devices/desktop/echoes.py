"""Tells a person's hand from this program's own: what it does to mouse and keyboard comes back to it as input.

On X11 nothing in such an event says who caused it, so what was sent is remembered until it comes back.
"""

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

# A busy machine brings them back late; whatever is older never will.
LONGEST_WAY_S = 1.0
# A mouse that is bumped into is no hand on it.
STEADY_PX = 4

# A robot's listener and a teleoperator's hear the same.
_EARS: weakref.WeakSet["Echoes"] = weakref.WeakSet()


def announce_press(channel: str, is_down: bool) -> None:
    """A button or key is about to go down or up by this program's doing."""
    for ear in list(_EARS):
        ear.expect_press(channel, is_down)


def announce_move(position_px: tuple[int, int]) -> None:
    """The mouse is about to go to a position on the screen by this program's doing."""
    for ear in list(_EARS):
        ear.expect_move(position_px)


class Echoes:
    """What this program has sent and one of its listeners not yet heard, and what it holds down."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: deque[tuple[float, tuple]] = deque()
        self._held: set[str] = set()
        self._mouse_px: tuple[int, int] | None = None
        _EARS.add(self)

    def expect_press(self, channel: str, is_down: bool) -> None:
        """A button or key is about to go down or up."""
        with self._lock:
            (self._held.add if is_down else self._held.discard)(channel)
            self._remember((channel, is_down))

    def expect_move(self, position_px: tuple[int, int]) -> None:
        """The mouse is about to go to a position on the screen."""
        with self._lock:
            self._mouse_px = position_px
            self._remember(position_px)

    def is_own_press(self, channel: str, is_down: bool) -> bool:
        """Whether this press or release, just heard, was this program's; a key it holds may repeat itself."""
        with self._lock:
            if self._forget((channel, is_down)) or channel in self._held:
                return True
            # It may have repeated itself before its release, which is still on its way, went out.
            return any(what[0] == channel for _, what in self._sent)

    def is_own_move(self, position_px: tuple[int, int]) -> bool:
        """Whether the mouse, just heard to be at a position, was sent there by this program."""
        with self._lock:
            return self._forget(position_px)

    def is_bump(self, position_px: tuple[int, int]) -> bool:
        """Whether the mouse, moved by other hands, is still about where this program, if it ever did, left it."""
        with self._lock:
            left_px = self._mouse_px
        return (
            left_px is not None
            and max(abs(at - own) for at, own in zip(position_px, left_px, strict=True)) <= STEADY_PX
        )

    def _remember(self, what: tuple) -> None:
        self._drop_old()
        self._sent.append((self._clock(), what))

    def _forget(self, what: tuple) -> bool:
        self._drop_old()
        for entry in self._sent:
            if entry[1] == what:
                self._sent.remove(entry)
                return True
        return False

    def _drop_old(self) -> None:
        while self._sent and self._sent[0][0] < self._clock() - LONGEST_WAY_S:
            self._sent.popleft()
