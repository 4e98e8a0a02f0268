"""What all foreign formats are read into: input events in the terms of our own `events.jsonl`, and frame times."""

from typing import NamedTuple

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
# Times beyond are a damaged file's; up to it any two can be added and subtracted in 64 bits.
LIMIT_NS = 2**62

# Notches of a wheel are 120 units each in Windows' own messages (WHEEL_DELTA).
WHEEL_UNITS_PER_NOTCH = 120

# Bits of the buttons by the names that recorders give them.
BUTTON_BITS = {"left": 1, "right": 2, "middle": 4, "x1": 8, "x2": 16}
# The same by the virtual-key codes of buttons.
BUTTON_BIT_OF_VK = {1: 1, 2: 2, 4: 4, 5: 8, 6: 16}


class InputEvent(NamedTuple):
    """One event of mouse or keyboard; what its kind does not have is None.

    Kinds are those of `events.jsonl`: mousemove (x, y), mousedelta (dx, dy), wheel
    (dx, dy in notches, positive to the right and away from the user), buttondown and buttonup (button, a bit),
    keydown and keyup (vk). Any other kind is kept for the audit and labels nothing.
    """

    ns: int
    kind: str
    line: int  # where it stands in the recorder's file, from 1
    x: float | None = None  # pixels of the video
    y: float | None = None
    button: int | None = None  # bit of the one that changed
    vk: int | None = None
    dx: float | None = None
    dy: float | None = None
    raw: str | None = None  # of a kind that is not known, what stands in the file, where the kind does not say all
