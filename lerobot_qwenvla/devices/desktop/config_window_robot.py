"""LeRobot's robot type `window`."""

from dataclasses import dataclass, field

from lerobot.robots import RobotConfig

from lerobot_qwenvla.devices.executor import ExecutionConfig


@RobotConfig.register_subclass("window")
@dataclass(kw_only=True)
class WindowRobotConfig(RobotConfig):
    """Any window or part of the screen, with the desktop's mouse and keyboard."""

    # Part of its title (X11 only).
    window: str | None = None
    # In its place left, top, width and height on the screen, in pixels.
    region: list[int] | None = None
    # Width of the pictures in pixels.
    canvas_w: int = 384
    # Height of the pictures in pixels.
    canvas_h: int = 384
    # `absolute`: actions say where the mouse goes; `delta`: how far, in canvas widths and heights.
    mouse: str = "absolute"
    # How many actions a second it should get; after three periods without one all is let go.
    fps: float = 10
    # How often mouse and keys change at most.
    max_rate_hz: float = 100
    # Hands mouse and keyboard to the person, and back to the policy.
    hotkey: str = "F9"
    # Whether a person's hand on mouse or keyboard does so too; `false` for games that move the mouse themselves.
    interrupt: bool = True
    # Thresholds and smoothing of the actions.
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
