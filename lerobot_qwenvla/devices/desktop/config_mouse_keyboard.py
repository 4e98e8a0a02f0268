"""LeRobot's teleoperator type `mouse_keyboard`."""

from dataclasses import dataclass

from lerobot.teleoperators import TeleoperatorConfig


@TeleoperatorConfig.register_subclass("mouse_keyboard")
@dataclass(kw_only=True)
class MouseKeyboardConfig(TeleoperatorConfig):
    """A person at the desktop's own mouse and keyboard."""

    # Part of the title of the window that the mouse is over (X11 only).
    window: str | None = None
    # In its place left, top, width and height on the screen, in pixels.
    region: list[int] | None = None
    # Width of the screen as the robot sees it, in pixels.
    canvas_w: int = 384
    # Height of the screen as the robot sees it, in pixels.
    canvas_h: int = 384
    # `absolute`: where the mouse is; `delta`: how it has moved, in canvas widths and heights.
    mouse: str = "absolute"
