"""The mouse-and-keyboard vector that converter, environment, recorder and policy share.

One float32 vector describes both `action` and `observation.state`:

    mouse.x mouse.y button.left button.right button.middle key.w key.a ...

Mouse channels are positions on the canvas in [-1, 1] (or, in delta datasets, `mouse.dx`/`mouse.dy`, movements in
canvas widths and heights); every other channel is 1 while pressed and 0 otherwise.
"""

from typing import Literal

import numpy as np

SCHEMA_VERSION = 1

MouseMode = Literal["absolute", "delta"]
# Keys of a vocabulary in channel order, each with the virtual-key codes that press it.
KeyCodes = dict[str, tuple[int, ...]]

MOUSE_CHANNELS = ("mouse.x", "mouse.y")
MOUSE_DELTA_CHANNELS = ("mouse.dx", "mouse.dy")

# Bit of each button in the `buttons` field of a recorded mouse event.
BUTTON_BITS = {"left": 1, "right": 2, "middle": 4}

# Windows virtual-key codes; the first code of a key is the one the recorder writes.
KEY_CODES: KeyCodes = {
    **{letter: (ord(letter.upper()),) for letter in "wasdqerf"},
    "space": (0x20,),
    "shift": (0x10, 0xA0, 0xA1),  # either, left, right
    "ctrl": (0x11, 0xA2, 0xA3),
    "tab": (0x09,),
    "enter": (0x0D,),
    "escape": (0x1B,),
    "up": (0x26,),
    "down": (0x28,),
    "left": (0x25,),
    "right": (0x27,),
    **{digit: (ord(digit),) for digit in "1234"},
}
KEY_OF_CODE = {code: name for name, codes in KEY_CODES.items() for code in codes}


def channel_names(mouse: MouseMode, key_codes: KeyCodes = KEY_CODES) -> tuple[str, ...]:
    """Names of the channels of state and action, in order."""
    mouse_channels = MOUSE_CHANNELS if mouse == "absolute" else MOUSE_DELTA_CHANNELS
    return (*mouse_channels, *(f"button.{b}" for b in BUTTON_BITS), *(f"key.{k}" for k in key_codes))


CHANNELS = channel_names("absolute")
CHANNEL_INDEX = {name: i for i, name in enumerate(CHANNELS)}


def normalize_px(position_px: np.ndarray | float, size_px: int) -> np.ndarray | float:
    """Canvas position in pixels [0, size-1] → [-1, 1], clipped: `2 * x / (size - 1) - 1`."""
    return np.clip(2 * position_px / (size_px - 1) - 1, -1.0, 1.0)


def denormalize_px(position: np.ndarray | float, size_px: int) -> np.ndarray | float:
    """Inverse of `normalize_px` inside the canvas."""
    return (position + 1) * (size_px - 1) / 2


def action_vector(
    mouse: tuple[float, float] = (0.0, 0.0),
    buttons: set[str] | frozenset[str] = frozenset(),
    keys: set[str] | frozenset[str] = frozenset(),
) -> np.ndarray:
    """Action from normalised mouse position and the names of what is pressed.  # (len(CHANNELS),) float32

    Raises:
        KeyError: A button or key that is not in the vocabulary.
    """
    action = np.zeros(len(CHANNELS), dtype=np.float32)
    action[: len(MOUSE_CHANNELS)] = mouse
    for name in (*(f"button.{b}" for b in buttons), *(f"key.{k}" for k in keys)):
        action[CHANNEL_INDEX[name]] = 1.0
    return action
