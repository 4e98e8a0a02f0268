"""A hand on mouse and keyboard: turns an intention into input events at human moments."""

import numpy as np

from lerobot_qwenvla.devices.clock import ticks_of_ms
from lerobot_qwenvla.devices.input_device import InputEvent
from lerobot_qwenvla.devices.intention import Intention
from recordings_to_lerobot.actions.channels import BUTTON_BITS
from recordings_to_lerobot.actions.vocabulary import KEY_CODES

REPEAT_AFTER_MS = 500
REPEAT_EVERY_MS = 33
MOUSE_REPORTS_PER_INTERVAL = (3, 7)
# Slow tremor of the hand: standard deviation in canvas heights, and memory from frame to frame.
WOBBLE = 0.01
WOBBLE_MEMORY = 0.9


class Hand:
    """Remembers where the cursor is, which keys are down and which of them repeats."""

    def __init__(self, canvas_px: tuple[int, int], rng: np.random.Generator):
        """A hand that rests at the centre of a canvas (width, height)."""
        self._canvas_px = canvas_px
        self._rng = rng
        self._cursor_px = np.array([size / 2 for size in canvas_px])
        self._wobble = 0.0
        self._keys: frozenset[str] = frozenset()
        # A keyboard repeats only the key that went down last.
        self._repeating: str | None = None
        self._next_repeat_tick = 0

    def carry_out(self, intention: Intention, start_tick: int, end_tick: int) -> list[InputEvent]:
        """Events strictly between two ticks, sorted, after which mouse and keys are where they shall be."""
        events = [
            *self._move(intention.cursor_px, start_tick, end_tick),
            *self._press(intention.keys, start_tick, end_tick),
        ]
        events.sort(key=lambda event: event.tick)
        # Behind the last move, so that a click lands where the mouse was sent.
        click_from = max((event.tick for event in events), default=start_tick)
        return [*events, *self._click(intention.clicks, click_from, end_tick)]

    def _move(self, target_px: tuple[int, int], start_tick: int, end_tick: int) -> list[InputEvent]:
        self._wobble = WOBBLE_MEMORY * self._wobble + self._rng.normal(scale=np.sqrt(1 - WOBBLE_MEMORY**2))
        height_px = self._canvas_px[1]
        y_px = np.clip(round(target_px[1] + self._wobble * WOBBLE * height_px), 0, height_px - 1)
        start_px, self._cursor_px = self._cursor_px, np.array([target_px[0], y_px])
        ticks = self._moments(int(self._rng.integers(*MOUSE_REPORTS_PER_INTERVAL)), start_tick, end_tick)
        path = [_eased(fraction) for fraction in np.linspace(0, 1, len(ticks) + 1)[1:]]
        points_px = [np.rint(start_px + share * (self._cursor_px - start_px)).astype(int) for share in path]
        moves, last_px = [], start_px
        for tick, point_px in zip(ticks, points_px, strict=True):
            # A mouse that rests reports nothing.
            if not np.array_equal(point_px, last_px):
                moves.append(InputEvent(tick, "mousemove", {"x": int(point_px[0]), "y": int(point_px[1])}))
            last_px = point_px
        return moves

    def _press(self, keys: frozenset[str], start_tick: int, end_tick: int) -> list[InputEvent]:
        released_tick = end_tick
        events = []
        for key in sorted(self._keys - keys):
            (tick,) = self._moments(1, start_tick, end_tick)
            events.append(_key_event(tick, "keyup", key))
            if key == self._repeating:
                released_tick = tick
        pressed = sorted(keys - self._keys)
        press_ticks = self._moments(len(pressed), start_tick, end_tick)
        # Until the first new key takes over, the old one repeats.
        events += self._repeat(start_tick, min([released_tick, *press_ticks]))
        if self._repeating not in keys:
            self._repeating = None
        for tick, key in zip(press_ticks, pressed, strict=True):
            events.append(_key_event(tick, "keydown", key))
            self._repeating, self._next_repeat_tick = key, tick + ticks_of_ms(REPEAT_AFTER_MS)
        self._keys = keys
        return events

    def _repeat(self, start_tick: int, until_tick: int) -> list[InputEvent]:
        events = []
        while self._repeating is not None and self._next_repeat_tick < until_tick:
            # A repetition that fell between two intervals is reported at the first moment of this one.
            tick = max(self._next_repeat_tick, start_tick + 1)
            if tick < until_tick:
                events.append(_key_event(tick, "keydown", self._repeating))
            self._next_repeat_tick += ticks_of_ms(REPEAT_EVERY_MS)
        return events

    def _click(self, buttons: tuple[str, ...], start_tick: int, end_tick: int) -> list[InputEvent]:
        x, y = (int(position) for position in self._cursor_px)
        ticks = self._moments(len(buttons), start_tick, end_tick)
        return [
            InputEvent(tick, "mouseclick", {"x": x, "y": y, "buttons": BUTTON_BITS[button]})
            for tick, button in zip(ticks, buttons, strict=True)
        ]

    def _moments(self, count: int, start_tick: int, end_tick: int) -> list[int]:
        """Random moments strictly between two ticks, in order."""
        return sorted(self._rng.integers(start_tick + 1, end_tick, size=count).tolist())


def _eased(fraction: float) -> float:
    """Share of the way after a fraction of the time: slow, fast, slow, as hands move."""
    return fraction * fraction * (3 - 2 * fraction)


def _key_event(tick: int, kind: str, key: str) -> InputEvent:
    return InputEvent(tick, kind, {"vk": KEY_CODES[key][0]})
