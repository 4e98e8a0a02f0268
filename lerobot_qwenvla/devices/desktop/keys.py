"""Keys and buttons between pynput's names and the vocabulary's."""

import sys

from recordings_to_lerobot.actions.channels import BUTTON_BITS
from recordings_to_lerobot.actions.vocabulary import KEY_CODES

# pynput's names where they differ from those of `window_keys`.
_SYMBOLS = {"esc": "ESCAPE", "shift": "LSHIFT", "shift_r": "RSHIFT", "ctrl": "LCTRL", "ctrl_r": "RCTRL"}
_SYMBOLS |= {"shift_l": "LSHIFT", "ctrl_l": "LCTRL"}
# What a keyboard of the US gives with shift held; pynput tells the character, not the key.
_UNSHIFTED = dict(zip("!@#$%^&*()", "1234567890", strict=True))
_SPECIAL = {"escape": "esc"}


def symbol_of(key) -> str | None:
    """Name of a pynput key as `window_keys.code_of_symbol` knows it; None for one that has none."""
    name = getattr(key, "name", None)
    if name:
        return _SYMBOLS.get(name, name.upper())
    char = getattr(key, "char", None)
    return _UNSHIFTED.get(char, char.upper()) if char else None


def pynput_key(name: str):
    """pynput's key for one of the vocabulary.

    Raises:
        KeyError: No such key.
    """
    from pynput.keyboard import Key, KeyCode

    code = KEY_CODES[name][0]
    if len(name) > 1:
        return Key[_SPECIAL.get(name, name)]
    # On X11 pynput sends only keys with a code of the server's (keysyms, for letters and digits ASCII) as real input;
    # of others it tells the window alone, and most games do not listen.
    if sys.platform.startswith("linux"):
        return KeyCode.from_vk(ord(name))
    return KeyCode.from_vk(code) if sys.platform == "win32" else KeyCode.from_char(name)


def pynput_button(name: str):
    """pynput's button for one of the vocabulary."""
    from pynput.mouse import Button

    return Button[name]


def button_name(button) -> str | None:
    """The vocabulary's name of a pynput button, None for those of other mice."""
    return button.name if button.name in BUTTON_BITS else None
