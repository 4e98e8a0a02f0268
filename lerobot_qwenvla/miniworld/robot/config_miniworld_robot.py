"""LeRobot's robot type `miniworld`."""

from dataclasses import dataclass, field
from pathlib import Path

from lerobot.robots import RobotConfig

from lerobot_qwenvla.devices.executor import ExecutionConfig
from lerobot_qwenvla.miniworld.tasks import RECORDED


@RobotConfig.register_subclass("miniworld")
@dataclass(kw_only=True)
class MiniworldRobotConfig(RobotConfig):
    """Miniworld in real time."""

    # A name in `tasks.TASKS`.
    task: str = "OneRoom"
    # One in `tasks.VARIATIONS`.
    variation: str = RECORDED
    # Of the first episode; the others follow it.
    seed: int = 0
    # Step budget of an episode; None keeps the one of the stock world.
    episode_length: int | None = None
    # Width of the screen in pixels.
    canvas_w: int = 384
    # Height of the screen in pixels.
    canvas_h: int = 384
    # Ticks of the world a second, whether or not an action comes.
    fps: float = 10
    # Whether a person sees it.
    window: bool = False
    # File that gets one JSON line for each episode that ends.
    results: Path | None = None
    # Thresholds and smoothing of the actions.
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
