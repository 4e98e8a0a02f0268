"""LeRobot's robot type `window`."""

from dataclasses import dataclass, field

from lerobot.robots import RobotConfig

from lerobot_qwenvla.devices.executor import ExecutionConfig


@RobotConfig.register_subclass("window")
@dataclass(kw_only=True)
class WindowRobotConfig(RobotConfig):
    """Any window or part of the screen, with the desktop's mouse and keyboard.

    Attributes:
        window: Part of its title (X11 only).
        region: In its place left, top, width and height on the screen, in pixels.
        canvas_w: Width of the pictures in pixels.
        canvas_h: Height of the pictures in pixels.
        mouse: `absolute`: actions say where the mouse goes; `delta`: how far, in canvas widths and heights.
        fps: How many actions a second it should get; after three periods without one all is let go.
        max_rate_hz: How often mouse and keys change at most.
        hotkey: Hands mouse and keyboard to the person, and back to the policy.
        interrupt: Whether a person's hand on mouse or keyboard does so too; `false` for games that move the mouse
            themselves.
        execution: Thresholds and smoothing of the actions.
    """

    window: str | None = None
    region: list[int] | None = None
    canvas_w: int = 384
    canvas_h: int = 384
    mouse: str = "absolute"
    fps: float = 10
    max_rate_hz: float = 100
    hotkey: str = "F9"
    interrupt: bool = True
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
