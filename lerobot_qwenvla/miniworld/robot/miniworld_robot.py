"""Miniworld as a LeRobot robot."""

import json
import logging
import os
from dataclasses import asdict

import numpy as np
from lerobot.utils.decorators import check_if_already_connected, check_if_not_connected

from lerobot_qwenvla.devices.input_robot import InputRobot
from lerobot_qwenvla.devices.input_state import checked_action
from lerobot_qwenvla.miniworld.robot.config_miniworld_robot import MiniworldRobotConfig
from lerobot_qwenvla.miniworld.robot.real_time_world import EpisodeResult
from lerobot_qwenvla.miniworld.robot.world_process import WorldProcess, WorldSettings
from lerobot_qwenvla.miniworld.tasks import find_task
from recordings_to_lerobot.actions.channels import CHANNELS

logger = logging.getLogger(__name__)


class MiniworldRobot(InputRobot):
    """A Miniworld that does not wait: episodes follow one another in real time."""

    config_class = MiniworldRobotConfig
    name = "miniworld"
    channels = CHANNELS

    def __init__(self, config: MiniworldRobotConfig):
        """Raises ValueError if a setting is wrong; the world begins when the robot is connected."""
        super().__init__(config)
        find_task(config.task, config.variation)
        if not 0 < config.fps <= 1000:
            raise ValueError(f"--robot.fps must be above 0 and at most 1000, not {config.fps}.")
        self.config = config
        self.canvas_px = (config.canvas_w, config.canvas_h)
        self._world: WorldProcess | None = None
        self._n_told = 0

    @property
    def is_connected(self) -> bool:
        return self._world is not None

    @property
    def results(self) -> list[EpisodeResult]:
        """How the episodes ended that have ended so far."""
        return self._world.results if self._world else []

    @check_if_already_connected
    def connect(self, calibrate: bool = True) -> None:
        """Begin the first episode.

        Raises:
            ValueError: A canvas or budget is too small.
            OpenGLMissingError: A system library is missing.
            NoDisplayError: A window is wanted where none can be opened.
        """
        config = self.config
        env = {
            "task": config.task,
            "canvas_w": config.canvas_w,
            "canvas_h": config.canvas_h,
            "episode_length": config.episode_length,
            "variation": config.variation,
        }
        display = os.environ.get("DISPLAY")
        settings = WorldSettings(env, config.execution, config.fps, config.seed, config.window, display)
        self._world, self._n_told = WorldProcess(settings), 0

    def _observe(self) -> tuple[np.ndarray, np.ndarray]:
        seen = self._world.observe()
        self._tell_results()
        return seen

    def _act(self, action: np.ndarray) -> None:
        self._world.send(checked_action(action, self.channels))

    @check_if_not_connected
    def disconnect(self) -> None:
        world, self._world = self._world, None
        n_successes = sum(result.success for result in world.results)
        world.close()
        logger.info("Reached the goal in %d of %d episodes", n_successes, len(world.results))

    def _tell_results(self) -> None:
        for result in self.results[self._n_told :]:
            logger.info("Episode ended: %s", result)
            if self.config.results:
                with self.config.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
        self._n_told = len(self.results)
