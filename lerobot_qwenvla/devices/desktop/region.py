"""A rectangle of the screen: where it is, what it shows, and which of its pixels is which of the canvas."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from recordings_to_lerobot.actions.encoding import denormalize_px


@dataclass(frozen=True)
class Box:
    """Pixels of the screen: left and top edge, width and height."""

    left: int
    top: int
    width: int
    height: int

    def to_canvas(self, x: float, y: float, canvas_px: tuple[int, int]) -> tuple[int, int]:
        """Canvas pixel (x, y) under a position on the screen, or the nearest one to a position outside."""
        inside = (x + 0.5 - self.left, y + 0.5 - self.top)  # the middle of the pixel
        scaled = (int(at * size // own) for at, size, own in zip(inside, canvas_px, self.size_px, strict=True))
        return tuple(min(max(at, 0), size - 1) for at, size in zip(scaled, canvas_px, strict=True))

    def to_screen(self, x: float, y: float, canvas_px: tuple[int, int]) -> tuple[int, int]:
        """Position on the screen of a mouse position in [-1, 1]²: in the middle of the canvas pixel."""
        at_canvas = (denormalize_px(at, size) for at, size in zip((x, y), canvas_px, strict=True))
        inside = ((at + 0.5) * own / size for at, size, own in zip(at_canvas, canvas_px, self.size_px, strict=True))
        left_px, top_px = (min(int(at), own - 1) for at, own in zip(inside, self.size_px, strict=True))
        return self.left + left_px, self.top + top_px

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height


class ScreenRegion:
    """A window, by its title, or a fixed rectangle. Used from one thread, but for `box`.

    Attributes:
        box: Where it is, as of the last look.
    """

    def __init__(self, window: str | None, region: list[int] | None):
        """Find it.

        Raises:
            ValueError: Both or none are given, no or several windows have the title, or it is outside the screen.
        """
        import mss

        if (window is None) == (region is None):
            raise ValueError("give either a window (part of its title) or a region (left, top, width, height)")
        if region is not None and (len(region) != 4 or min(region[2:]) < 2):
            raise ValueError(f"a region is left, top, width and height in pixels, not {region}")
        self._finder = WindowFinder(window) if window is not None else None
        self.box = Box(*region) if region is not None else self._finder.find()
        self._screen = mss.mss()
        self._require_on_screen()

    def grab(self, canvas_px: tuple[int, int]) -> np.ndarray:
        """What it shows now, at the size of the canvas (width, height).  # (canvas_h, canvas_w, 3) uint8

        Raises:
            ValueError: The window is gone, or was moved over the edge of the screen.
        """
        box = self.find()
        area = {"left": box.left, "top": box.top, "width": box.width, "height": box.height}
        shot = self._screen.grab(area)
        rgb = np.frombuffer(shot.rgb, dtype=np.uint8).reshape(shot.height, shot.width, 3)
        if (shot.width, shot.height) == canvas_px:
            return rgb
        shrinks = canvas_px[0] < shot.width
        return cv2.resize(rgb, canvas_px, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

    def find(self) -> Box:
        """Where it is now; a window may have been moved.

        Raises:
            ValueError: The window is gone, or was moved over the edge of the screen.
        """
        if self._finder:
            self.box = self._finder.find()
            self._require_on_screen()
        return self.box

    def close(self) -> None:
        """Give back what it holds of the display."""
        self._screen.close()
        if self._finder:
            self._finder.close()

    def _require_on_screen(self) -> None:
        everything, box = self._screen.monitors[0], self.box
        fits = (
            box.left >= everything["left"]
            and box.top >= everything["top"]
            and box.left + box.width <= everything["left"] + everything["width"]
            and box.top + box.height <= everything["top"] + everything["height"]
        )
        if not fits:
            raise ValueError(
                f"{box} is not all on the screen ({everything['width']}x{everything['height']} pixels); "
                "move the window, or give another region"
            )


class WindowFinder:
    """Finds a window of an X server by a part of its title."""

    def __init__(self, title: str):
        """Raises ValueError on other systems."""
        if not sys.platform.startswith("linux"):
            raise ValueError("windows are found by their titles on X11 only; give a region (left, top, width, height)")
        from Xlib.display import Display

        self._title = title
        self._display = Display()
        self._found = None

    def find(self) -> Box:
        """Where it is; a window that was found once is the same one later, whatever its title.

        Raises:
            ValueError: No or several windows have the title.
        """
        from Xlib.error import BadWindow

        try:
            if self._found is None:
                self._found = self._only_match()
            geometry = self._found.get_geometry()
            origin = self._found.translate_coords(self._display.screen().root, 0, 0)
        except BadWindow:
            raise ValueError(f"the window {self._title!r} is gone") from None
        # Where the root's origin is as seen from the window: the window's own, turned around.
        return Box(-origin.x, -origin.y, geometry.width, geometry.height)

    def close(self) -> None:
        """Close the connection to the display."""
        self._display.close()

    def _only_match(self):
        titles = {}
        for window in self._windows(self._display.screen().root):
            if self._title.lower() in (title := self._title_of(window)).lower():
                titles[window] = title
        exact = [window for window, title in titles.items() if title == self._title]
        matches = exact or list(titles)
        if len(matches) != 1:
            what = f"{len(matches)} windows have it: {sorted(titles.values())}" if matches else "no window has it"
            raise ValueError(f"window {self._title!r}: {what}; give a part of the title that only one window has")
        return matches[0]

    def _windows(self, parent) -> Iterator:
        from Xlib import X
        from Xlib.error import BadWindow

        for window in parent.query_tree().children:
            try:
                if window.get_attributes().map_state != X.IsViewable:
                    continue
                yield window
                yield from self._windows(window)
            except BadWindow:  # closed meanwhile
                continue

    def _title_of(self, window) -> str:
        text = window.get_full_text_property(self._display.intern_atom("_NET_WM_NAME")) or window.get_wm_name() or ""
        return text if isinstance(text, str) else text.decode(errors="replace")
