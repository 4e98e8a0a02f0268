"""Windows virtual-key codes of the keys that recorders write by name."""

from recordings_to_lerobot.actions.vocabulary import KEY_CODES

# Names of Minecraft (GLFW) behind `key.keyboard.` that are not a letter, a digit or a function key.
_JAVA = {
    "escape": 0x1B, "enter": 0x0D, "tab": 0x09, "backspace": 0x08, "insert": 0x2D, "delete": 0x2E,
    "right": 0x27, "left": 0x25, "down": 0x28, "up": 0x26, "page.up": 0x21, "page.down": 0x22,
    "home": 0x24, "end": 0x23, "caps.lock": 0x14, "scroll.lock": 0x91, "num.lock": 0x90,
    "print.screen": 0x2C, "pause": 0x13, "space": 0x20, "menu": 0x5D,
    "left.shift": 0xA0, "right.shift": 0xA1, "left.control": 0xA2, "right.control": 0xA3,
    "left.alt": 0xA4, "right.alt": 0xA5, "left.win": 0x5B, "right.win": 0x5C,
    "apostrophe": 0xDE, "comma": 0xBC, "minus": 0xBD, "period": 0xBE, "slash": 0xBF, "semicolon": 0xBA,
    "equal": 0xBB, "left.bracket": 0xDB, "backslash": 0xDC, "right.bracket": 0xDD, "grave.accent": 0xC0,
    **{f"keypad.{digit}": 0x60 + digit for digit in range(10)},
    "keypad.multiply": 0x6A, "keypad.add": 0x6B, "keypad.subtract": 0x6D, "keypad.decimal": 0x6E,
    "keypad.divide": 0x6F, "keypad.enter": 0x0D,
}  # fmt: skip

# Names of pynput, which DuckTrack writes, that are not a character or a function key.
_PYNPUT = {
    "esc": 0x1B, "enter": 0x0D, "tab": 0x09, "backspace": 0x08, "insert": 0x2D, "delete": 0x2E,
    "right": 0x27, "left": 0x25, "down": 0x28, "up": 0x26, "page_up": 0x21, "page_down": 0x22,
    "home": 0x24, "end": 0x23, "caps_lock": 0x14, "scroll_lock": 0x91, "num_lock": 0x90,
    "print_screen": 0x2C, "pause": 0x13, "space": 0x20, "menu": 0x5D,
    "shift": 0xA0, "shift_l": 0xA0, "shift_r": 0xA1, "ctrl": 0xA2, "ctrl_l": 0xA2, "ctrl_r": 0xA3,
    "alt": 0xA4, "alt_l": 0xA4, "alt_r": 0xA5, "alt_gr": 0xA5, "cmd": 0x5B, "cmd_l": 0x5B, "cmd_r": 0x5C,
}  # fmt: skip

# Characters of a US keyboard that are no letter and no digit, without and with shift.
_CHARACTERS = {
    **{pair[i]: code for code, pair in {
        0xBA: ";:", 0xBB: "=+", 0xBC: ",<", 0xBD: "-_", 0xBE: ".>", 0xBF: "/?", 0xC0: "`~",
        0xDB: "[{", 0xDC: "\\|", 0xDD: "]}", 0xDE: "'\"",
    }.items() for i in range(2)},
    **{shifted: ord("0") + digit for digit, shifted in enumerate(")!@#$%^&*(")},
    " ": 0x20,
}  # fmt: skip


def java_key_code(name: str) -> int | None:
    """The code of a key that Minecraft names, as `key.keyboard.left.shift`; None for an unknown one."""
    name = name.removeprefix("key.keyboard.")
    return _JAVA.get(name) or _common_code(name)


def pynput_key_code(name: str) -> int | None:
    """The code of a key that pynput names: a character, or the name of a special key; None for an unknown one."""
    return _PYNPUT.get(name) or _CHARACTERS.get(name) or _common_code(name.lower())


def _common_code(name: str) -> int | None:
    if name in KEY_CODES:
        return KEY_CODES[name][0]
    if len(name) == 1 and name.isascii() and name.isalnum():
        return ord(name.upper())
    number = name.removeprefix("f")
    if number != name and number.isdecimal() and 1 <= int(number) <= 24:
        return 0x6F + int(number)
    return None
