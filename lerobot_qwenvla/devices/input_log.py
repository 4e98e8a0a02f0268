"""What a person does with mouse and keyboard, stamped as it is reported."""

from collections.abc import Callable

from lerobot_qwenvla.devices.clock import now
from lerobot_qwenvla.devices.input_device import InputEvent
from lerobot_qwenvla.devices.window_keys import code_of_symbol
from recordings_to_lerobot.actions.channels import BUTTON_BITS


def canvas_position(x: int, y: int, window_px: tuple[int, int], canvas_px: tuple[int, int]) -> tuple[int, int]:
    """Canvas pixel (x, y) under a position in the window, or the nearest one to a position outside.

    The window counts from its bottom left corner, the canvas from its top left; sizes are (width, height).
    """
    from_top_left = (x, window_px[1] - 1 - y)
    scaled = (at * size // window for at, size, window in zip(from_top_left, canvas_px, window_px, strict=True))
    return tuple(min(max(at, 0), size - 1) for at, size in zip(scaled, canvas_px, strict=True))


class InputLog:
    """Events that nobody has taken yet, and what is held."""

    def __init__(self, canvas_px: tuple[int, int], clock: Callable[[], int] = now):
        """A mouse at the centre of a canvas (width, height) and nothing held; `clock` tells the tick."""
        self._clock = clock
        self._position = (canvas_px[0] // 2, canvas_px[1] // 2)
        self._button_bits = 0
        self._code_of_held: dict[str, int] = {}
        self._events: list[InputEvent] = []

    def move_mouse(self, position: tuple[int, int]) -> None:
        """The mouse is at a canvas pixel (x, y), perhaps where it was."""
        if position != self._position:
            self._position = position
            self._add("mousemove", self._mouse_fields())

    def press_button(self, button: str) -> None:
        """A button of the vocabulary goes down where the mouse is."""
        self._set_buttons(self._button_bits | BUTTON_BITS[button])

    def release_button(self, button: str) -> None:
        """A button of the vocabulary comes up."""
        self._set_buttons(self._button_bits & ~BUTTON_BITS[button])

    def scroll(self, dx: int, dy: int) -> None:
        """The wheel turns by some notches, up and to the right positive."""
        self._add("wheel", {"dx": dx, "dy": dy})

    def press_key(self, symbol: str) -> None:
        """A key goes down."""
        code = code_of_symbol(symbol)
        if code is None or symbol in self._code_of_held:
            return
        # The left and the right shift key are one to the recording.
        is_new = code not in self._code_of_held.values()
        self._code_of_held[symbol] = code
        if is_new:
            self._add("keydown", {"vk": code})

    def release_key(self, symbol: str) -> None:
        """A key comes up, perhaps one that was pressed elsewhere."""
        code = self._code_of_held.pop(symbol, None)
        if code is not None and code not in self._code_of_held.values():
            self._add("keyup", {"vk": code})

    def release_all_keys(self) -> None:
        """Nobody will say when they come up."""
        for symbol in list(self._code_of_held):
            self.release_key(symbol)

    def restart(self, tick: int) -> None:
        """Forget what happened; the only events now say, at `tick`, what is held."""
        held_codes = dict.fromkeys(self._code_of_held.values())
        self._events = [
            InputEvent(tick, "mousemove", {**self._mouse_fields(), "buttons": self._button_bits}),
            *(InputEvent(tick, "keydown", {"vk": code}) for code in held_codes),
        ]

    @property
    def waiting(self) -> tuple[InputEvent, ...]:
        """Events that nobody has taken yet, in order."""
        return tuple(self._events)

    def take_before(self, tick: int) -> list[InputEvent]:
        """Hand out the events before `tick`."""
        taken = [event for event in self._events if event.tick < tick]
        self._events = self._events[len(taken) :]
        return taken

    def _set_buttons(self, bits: int) -> None:
        self._button_bits = bits
        self._add("mousemove", {**self._mouse_fields(), "buttons": bits})

    def _mouse_fields(self) -> dict[str, int]:
        x, y = self._position
        return {"x": x, "y": y}

    def _add(self, kind: str, fields: dict[str, int]) -> None:
        self._events.append(InputEvent(self._clock(), kind, fields))
