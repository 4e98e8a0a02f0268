"""The keys of the vector: their names, in channel order, and the virtual-key codes that press each."""

# Keys of a vocabulary in channel order, each with the virtual-key codes that press it.
KeyCodes = dict[str, tuple[int, ...]]

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
