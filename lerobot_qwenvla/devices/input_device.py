"""A virtual mouse and keyboard: from raw input events to the mouse-and-keyboard vector."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recordings_to_lerobot.actions.channels import BUTTON_BITS
from recordings_to_lerobot.actions.encoding import action_vector, normalize_px
from recordings_to_lerobot.actions.vocabulary import KEY_OF_CODE


@dataclass(frozen=True)
class InputEvent:
    """One line of `events.jsonl`.

    Attributes:
        tick: When it happened, in ticks of the recorder's clock.
        kind: `mousemove`, `mouseclick`, `wheel`, `keydown` or `keyup`.
        fields: `x`, `y` and perhaps `buttons` for the mouse, `dx` and `dy` for its wheel, `vk` for a key.
    """

    tick: int
    kind: str
    fields: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """The line's object."""
        return {"ts": self.tick, "kind": self.kind, **self.fields}


class InputDevice:
    """What mouse and keyboard hold, event by event."""

    def __init__(self, canvas_px: tuple[int, int]):
        """A mouse at the centre of a canvas (width, height) and nothing held."""
        self._canvas_px = canvas_px
        self._mouse = (0.0, 0.0)
        self._buttons: frozenset[str] = frozenset()
        self._keys: frozenset[str] = frozenset()

    @property
    def state(self) -> np.ndarray:
        """What is held at this instant.  # (len(CHANNELS),) float32"""
        return action_vector(self._mouse, self._buttons, self._keys)

    def play(self, events: Iterable[InputEvent]) -> np.ndarray:
        """Action of one frame interval in which these events happen, in this order.

        The mouse counts where it is at the end, buttons and keys if they were down at any moment: held at the
        start or pressed since. So a tap inside the interval is not lost, and a release shows in the next one.

        Returns:
            (len(CHANNELS),) float32.
        """
        buttons, keys = self._buttons, self._keys
        for event in events:
            clicked = self._apply(event)
            buttons |= self._buttons | clicked
            keys |= self._keys
        return action_vector(self._mouse, buttons, keys)

    def _apply(self, event: InputEvent) -> frozenset[str]:
        """Change what is held; returns the buttons that were pressed and released at once."""
        fields = event.fields
        match event.kind:
            case "mousemove" | "mouseclick":
                width_px, height_px = self._canvas_px
                self._mouse = (normalize_px(fields["x"], width_px), normalize_px(fields["y"], height_px))
                if event.kind == "mouseclick":
                    return _buttons_of(fields.get("buttons", BUTTON_BITS["left"]))
                if "buttons" in fields:
                    self._buttons = _buttons_of(fields["buttons"])
            case "keydown":
                self._keys |= _keys_of(fields["vk"])
            case "keyup":
                self._keys -= _keys_of(fields["vk"])
            case "wheel":
                pass  # the vector has no channel for it
            case _:
                raise ValueError(f"A virtual device has no event of kind {event.kind!r}.")
        return frozenset()


def _keys_of(code: int) -> frozenset[str]:
    """None for a key outside the vocabulary: a person may press it, and it changes nothing."""
    return frozenset({KEY_OF_CODE[code]} if code in KEY_OF_CODE else ())


def _buttons_of(bits: int) -> frozenset[str]:
    return frozenset(name for name, bit in BUTTON_BITS.items() if bits & bit)
