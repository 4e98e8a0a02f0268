"""The mouse-and-keyboard vector that converter, environment, recorder and policy share.

One float32 vector describes both `action` and `observation.state`:

    mouse.x mouse.y button.left button.right button.middle key.w key.a ...

Mouse channels are positions on the canvas in [-1, 1] (or, in delta datasets, `mouse.dx`/`mouse.dy`, movements in
canvas widths and heights); every other channel is 1 while pressed and 0 otherwise.
"""

from typing import Literal

from recordings_to_lerobot.actions.vocabulary import KEY_CODES, KeyCodes

SCHEMA_VERSION = 1

MouseMode = Literal["absolute", "delta"]

MOUSE_CHANNELS = ("mouse.x", "mouse.y")
MOUSE_DELTA_CHANNELS = ("mouse.dx", "mouse.dy")

# Bit of each button in the `buttons` field of a recorded mouse event.
BUTTON_BITS = {"left": 1, "right": 2, "middle": 4}


def channel_names(mouse: MouseMode, key_codes: KeyCodes = KEY_CODES) -> tuple[str, ...]:
    """Names of the channels of state and action, in order."""
    mouse_channels = MOUSE_CHANNELS if mouse == "absolute" else MOUSE_DELTA_CHANNELS
    return (*mouse_channels, *(f"button.{b}" for b in BUTTON_BITS), *(f"key.{k}" for k in key_codes))


CHANNELS = channel_names("absolute")
CHANNEL_INDEX = {name: i for i, name in enumerate(CHANNELS)}
