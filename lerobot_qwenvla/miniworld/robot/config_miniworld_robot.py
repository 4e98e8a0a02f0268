"""LeRobot's robot type `miniworld`."""

from dataclasses import dataclass, field
from pathlib import Path

from lerobot.robots import RobotConfig

from lerobot_qwenvla.devices.executor import ExecutionConfig
from lerobot_qwenvla.miniworld.tasks import RECORDED


@RobotConfig.register_subclass("miniworld")
@dataclass(kw_only=True)
class MiniworldRobotConfig(RobotConfig):
    """Miniworld in real time.

    Attributes:
        task: A name in `tasks.TASKS`.
        variation: One in `tasks.VARIATIONS`.
        seed: Of the first episode; the others follow it.
        episode_length: Step budget of an episode; None keeps the one of the stock world.
        canvas_w: Width of the screen in pixels.
        canvas_h: Height of the screen in pixels.
        fps: Ticks of the world a second, whether or not an action comes.
        window: Whether a person sees it.
        results: File that gets one JSON line for each episode that ends.
        execution: Thresholds and smoothing of the actions.
    """

    task: str = "OneRoom"
    variation: str = RECORDED
    seed: int = 0
    episode_length: int | None = None
    canvas_w: int = 384
    canvas_h: int = 384
    fps: float = 10
    window: bool = False
    results: Path | None = None
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
