"""Draws what the hands did onto a picture of the screen: the mouse where it is, and a keyboard below."""

from collections.abc import Collection, Sequence
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from recordings_to_lerobot.actions.channels import MOUSE_CHANNELS

# Pictures are drawn at least this wide, so that what is written below them can be read.
MIN_WIDTH_PX = 480

PANEL, CAP, CAP_TEXT = "#14171c", "#2b3038", "#8a929e"
LIT, LIT_TEXT, TEXT = "#3d86f5", "#ffffff", "#d5dae1"
RING, RING_EDGE, RING_FILL = "#ffffff", "#000000", "#ff9d2e"

# Columns and rows of the keys that are always drawn, as on a keyboard; all others only while they are down.
_CLUSTER = {"key.w": (1, 0), "key.a": (0, 1), "key.s": (1, 1), "key.d": (2, 1)}
_CLUSTER_COLUMNS = 3


class Painter:
    """Draws pictures of one episode; sizes are in pixels of the drawing."""

    def __init__(self, size_px: tuple[int, int], channels: Sequence[str], task: str, is_thumbnail: bool = False):
        """For pictures of a size (width, height) and rows with these channels.

        A thumbnail has no text and large keys, which can be told apart when it is scaled down.
        """
        scale = -(-MIN_WIDTH_PX // size_px[0])
        self.picture_px = (scale * size_px[0], scale * size_px[1])
        self._pressable = channels[len(MOUSE_CHANNELS) :]
        self._task = task
        width, height = self.picture_px
        self._cap = width // 8 if is_thumbnail else max(22, width // 20)
        self._gap = self._cap // 6
        self._font = _font(self._cap // 2)
        self._line = 0 if is_thumbnail else self._cap * 4 // 5
        panel = self._line + 2 * self._cap + 4 * self._gap
        # Halved colour planes need even sizes.
        self.size_px = (width + width % 2, (height + panel) + (height + panel) % 2)
        self.ring_radius = width // 18 if is_thumbnail else max(8, width // 36)

    def paint(
        self, picture: Image.Image, cursor: tuple[float, float], pressed: Collection[str], time_s: float, row: int
    ) -> Image.Image:
        """One row: a picture of size `picture_px`, the cursor in canvas units from 0 to 1, and what is down."""
        drawing = Image.new("RGB", self.size_px, PANEL)
        drawing.paste(picture)
        draw = ImageDraw.Draw(drawing)
        self._draw_cursor(draw, self.cursor_px(cursor), pressed)
        if self._line:
            self._draw_text(draw, f"{time_s:.2f} s   row {row}")
        self._draw_keys(draw, pressed)
        return drawing

    def cursor_px(self, cursor: tuple[float, float]) -> tuple[float, float]:
        """Where a cursor in canvas units is drawn; outside the canvas, at its edge."""
        x, y = (min(1.0, max(0.0, part)) * (size - 1) for part, size in zip(cursor, self.picture_px, strict=True))
        return x, y

    def cap_box(self, column: float, row: int, width_px: int | None = None) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the key at a place of the keyboard."""
        step = self._cap + self._gap
        left = 2 * self._gap + round(column * step)
        top = self.picture_px[1] + self._line + 2 * self._gap + row * step
        return left, top, left + (width_px or self._cap), top + self._cap

    def _draw_cursor(self, draw: ImageDraw.ImageDraw, center: tuple[float, float], pressed: Collection[str]) -> None:
        x, y = center
        radius = self.ring_radius
        box = (x - radius, y - radius, x + radius, y + radius)
        if "button.left" in pressed:
            draw.pieslice(box, 90, 270, fill=RING_FILL)
        if "button.right" in pressed:
            draw.pieslice(box, 270, 450, fill=RING_FILL)
        if "button.middle" in pressed:
            draw.ellipse((x - radius / 2, y - radius / 2, x + radius / 2, y + radius / 2), fill=RING_FILL)
        thick = max(2, radius // 4)
        outer = (x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1)
        draw.ellipse(outer, outline=RING_EDGE, width=thick + 2)
        draw.ellipse(box, outline=RING, width=thick)

    def _draw_text(self, draw: ImageDraw.ImageDraw, clock: str) -> None:
        y = self.picture_px[1] + self._gap + self._line // 2
        right = self.size_px[0] - 2 * self._gap
        draw.text((right, y), clock, font=self._font, fill=CAP_TEXT, anchor="rm")
        room = right - 4 * self._gap - draw.textlength(clock, font=self._font)
        task = self._task
        while task and draw.textlength(task, font=self._font) > room:
            task = task.removesuffix("…")[:-1] + "…" if len(task) > 1 else ""
        draw.text((2 * self._gap, y), task, font=self._font, fill=TEXT, anchor="lm")

    def _draw_keys(self, draw: ImageDraw.ImageDraw, pressed: Collection[str]) -> None:
        for channel, (column, row) in _CLUSTER.items():
            if channel in self._pressable:
                self._draw_cap(draw, self.cap_box(column, row), channel, channel in pressed)
        column, row = _CLUSTER_COLUMNS + 0.5, 0
        for channel in self._pressable:
            if channel in _CLUSTER or channel not in pressed:
                continue
            width_px = max(self._cap, round(draw.textlength(_label(channel), font=self._font)) + 4 * self._gap)
            if self.cap_box(column, row, width_px)[2] > self.size_px[0] and row == 0:
                column, row = _CLUSTER_COLUMNS + 0.5, 1
            self._draw_cap(draw, self.cap_box(column, row, width_px), channel, lit=True)
            column += (width_px + self._gap) / (self._cap + self._gap)

    def _draw_cap(self, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], channel: str, lit: bool) -> None:
        draw.rounded_rectangle(box, radius=self._cap // 6, fill=LIT if lit else CAP)
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        draw.text(center, _label(channel), font=self._font, fill=LIT_TEXT if lit else CAP_TEXT, anchor="mm")


def _label(channel: str) -> str:
    device, name = channel.split(".", 1)
    if device == "button":
        return f"{name} button"
    if device == "wheel":
        return f"wheel {name[-1]}"
    return name.upper() if len(name) == 1 else name


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    # Pillow's own font lacks most scripts, in which instructions may be written.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size_px)
