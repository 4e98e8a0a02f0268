"""Windows virtual-key codes of the keys that a window reports."""

from recordings_to_lerobot.actions.vocabulary import KEY_CODES

# Pyglet's names where they differ from the vocabulary's.
_VOCABULARY_NAMES = {
    "LSHIFT": "shift",
    "RSHIFT": "shift",
    "LCTRL": "ctrl",
    "RCTRL": "ctrl",
    "RETURN": "enter",
    "NUM_ENTER": "enter",
}
_FIRST_FUNCTION_KEY, _N_FUNCTION_KEYS = 0x70, 24


def code_of_symbol(symbol: str) -> int | None:
    """Code of a key by pyglet's name for it (`W`, `_1`, `LSHIFT`, `F5`), None if it has no place in a recording.

    Letters, digits and function keys outside the vocabulary have one too: what they mean is up to the reader.
    """
    name = _VOCABULARY_NAMES.get(symbol, symbol.removeprefix("_").lower())
    if name in KEY_CODES:
        return KEY_CODES[name][0]
    if len(name) == 1 and name.isascii() and name.isalnum():
        return ord(name.upper())
    number = name.removeprefix("f")
    if name.startswith("f") and number.isdecimal() and 1 <= int(number) <= _N_FUNCTION_KEYS:
        return _FIRST_FUNCTION_KEY + int(number) - 1
    return None
