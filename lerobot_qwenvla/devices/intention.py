"""What a player wants mouse and keyboard to do during one frame interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Intention:
    """Mouse position, keys and clicks for one interval; how the hand gets there is not its matter.

    Attributes:
        cursor_px: Where the mouse shall be at the end, (x, y).
        keys: Names of the keys that shall be down at the end.
        clicks: Names of the buttons to click, in order.
    """

    cursor_px: tuple[int, int]
    keys: frozenset[str] = frozenset()
    clicks: tuple[str, ...] = ()
