"""The mouse-and-keyboard vector that converter, environment, recorder and policy share.

One float32 vector describes both `action` and `observation.state`:

    mouse.x mouse.y button.left button.right button.middle key.w key.a ...

Mouse channels are positions on the canvas in [-1, 1], or movements: `mouse.dx`, `mouse.dy` in canvas widths and heights
(`delta`), or in shares of a recorded scale of counts of a captured mouse (`relative`). Buttons and keys are 1 while
pressed and 0 otherwise. Behind them come the channels that only some datasets have: `button.back button.forward`, and
`wheel.dx wheel.dy` in notches.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from recordings_to_lerobot.actions.vocabulary import KEY_CODES, KeyCodes

SCHEMA_VERSION = 1

MouseMode = Literal["absolute", "delta", "relative"]
ExtraChannels = Literal["side_buttons", "wheel"]

MOUSE_CHANNELS = ("mouse.x", "mouse.y")
MOUSE_DELTA_CHANNELS = ("mouse.dx", "mouse.dy")
WHEEL_CHANNELS = ("wheel.dx", "wheel.dy")

# Bit of each button in the `buttons` and `button` of a recorded mouse event.
BUTTON_BITS = {"left": 1, "right": 2, "middle": 4}
SIDE_BUTTON_BITS = {"back": 8, "forward": 16}


@dataclass(frozen=True)
class ActionSpace:
    """What decides the channels of state and action, and what they mean."""

    mouse: MouseMode = "absolute"
    key_codes: KeyCodes = field(default_factory=lambda: KEY_CODES)
    extra: Collection[ExtraChannels] = ()

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, in order."""
        return (
            *(MOUSE_CHANNELS if self.mouse == "absolute" else MOUSE_DELTA_CHANNELS),
            *(f"button.{button}" for button in BUTTON_BITS),
            *(f"key.{key}" for key in self.key_codes),
            *(f"button.{button}" for button in SIDE_BUTTON_BITS if "side_buttons" in self.extra),
            *(channel for channel in WHEEL_CHANNELS if "wheel" in self.extra),
        )

    @property
    def button_bits(self) -> dict[str, int]:
        """The bit of each button that has a channel."""
        return BUTTON_BITS | (SIDE_BUTTON_BITS if "side_buttons" in self.extra else {})


CHANNELS = ActionSpace().channels
CHANNEL_INDEX = {name: i for i, name in enumerate(CHANNELS)}
