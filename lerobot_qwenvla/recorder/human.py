"""A person who plays in a window, in real time."""

import time
from collections.abc import Iterator

from lerobot_qwenvla.devices.clock import QPC_FREQ, now
from lerobot_qwenvla.devices.input_device import InputDevice
from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.recorder.clock import FRAME_PERIOD_TICKS
from lerobot_qwenvla.recorder.game_window import GameWindow, Wish
from lerobot_qwenvla.recorder.play import Interval, Player
from recordings_to_lerobot.actions.vocabulary import KEY_CODES

# How often the window is asked what happened, except while the world is stepped and drawn: an event is stamped when
# the answer comes.
POLL_S = 0.002
HUMAN = "human"
START_KEY = "space"


class EpisodeDiscardedError(Exception):
    """The person wants to play this episode again from the start."""


class SessionEndedError(Exception):
    """The person wants to play no more."""


class HumanPlayer:
    """Plays in a window; each episode waits for the person to begin.

    Attributes:
        news: What the title bar says of the episode before.
    """

    def __init__(self, window: GameWindow):
        self._window = window
        self.news = ""

    @property
    def player(self) -> Player:
        """The player to record; its intervals end with one of the errors above when the person wants it."""
        return Player(HUMAN, self._intervals)

    def _intervals(self, env: MiniworldEnv, seed: int) -> Iterator[Interval]:
        log = self._window.log
        self._wait_for_start(env, seed)
        tick = now()
        log.restart(tick - 1)
        held_before = log.take_before(tick)
        device = InputDevice(env.canvas_px)
        device.play(held_before)
        while True:
            self._window.show(env.screen)
            next_tick = self._wait_for_next_tick(tick)
            events = log.take_before(next_tick)
            yield Interval(tick, device.play(events), [*held_before, *events])
            held_before, tick = [], next_tick

    def _wait_for_start(self, env: MiniworldEnv, seed: int) -> None:
        self._window.show(env.screen)
        self._window.say(f"{self.news}Tap Space to begin: {env.task_description} (seed {seed})")
        self._window.log.restart(now())
        # Held down, the key would be part of the episode.
        while not any(
            event.kind == "keyup" and event.fields["vk"] in KEY_CODES[START_KEY] for event in self._window.log.waiting
        ):
            time.sleep(POLL_S)
            self._window.dispatch()
            self._heed_wish()
        self._window.say(f"{env.task_description} (seed {seed}; Backspace: again, Escape: end)")

    def _wait_for_next_tick(self, tick: int) -> int:
        """Log events for a nominal period; returns the end of the interval.

        Whether this frame is the last is known only after its step. The last one owns no more than a nominal
        period, so that an event after it always belongs to the next frame, which begins with that event at the
        latest.
        """
        nominal_end = tick + FRAME_PERIOD_TICKS
        while True:
            self._window.dispatch()
            self._heed_wish()
            ticks_left = nominal_end - (at := now())
            if ticks_left <= 0:
                return min([at, *(event.tick for event in self._window.log.waiting if event.tick >= nominal_end)])
            time.sleep(min(POLL_S, ticks_left / QPC_FREQ))

    def _heed_wish(self) -> None:
        wish, self._window.wish = self._window.wish, None
        if wish is Wish.END:
            raise SessionEndedError
        if wish is Wish.RESTART:
            raise EpisodeDiscardedError
