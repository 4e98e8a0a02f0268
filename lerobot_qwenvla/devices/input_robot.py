"""What all LeRobot robots have in common that are a screen with mouse and keyboard."""

import abc

import numpy as np
from lerobot.lerobot_types import RobotAction, RobotObservation
from lerobot.robots import Robot
from lerobot.utils.decorators import check_if_not_connected

from lerobot_qwenvla.devices.robot_features import features_of, values_of, vector_of

SCREEN = "screen"


class InputRobot(Robot):
    """A screen to look at, and a mouse and keyboard to use.

    Attributes:
        channels: Names of the channels of state and action, without LeRobot's ending.
        canvas_px: Width and height of the pictures.
    """

    channels: tuple[str, ...]
    canvas_px: tuple[int, int]

    @abc.abstractmethod
    def _observe(self) -> tuple[np.ndarray, np.ndarray]:
        """Screen (canvas_h, canvas_w, 3) uint8, and what is held (len(channels),) float32."""

    @abc.abstractmethod
    def _act(self, action: np.ndarray) -> None:
        """Perform an action (len(channels),) at the next tick."""

    @property
    def cameras(self) -> dict[str, tuple[int, int]]:
        """LeRobot counts them."""
        return {SCREEN: self.canvas_px}

    @property
    def observation_features(self) -> dict:
        width_px, height_px = self.canvas_px
        return {**features_of(self.channels), SCREEN: (height_px, width_px, 3)}

    @property
    def action_features(self) -> dict:
        return features_of(self.channels)

    @check_if_not_connected
    def get_observation(self) -> RobotObservation:
        screen, state = self._observe()
        return {**values_of(state, self.channels), SCREEN: screen}

    @check_if_not_connected
    def send_action(self, action: RobotAction) -> RobotAction:
        """Perform an action; an empty one, which LeRobot sends between episodes, is none.

        Raises:
            ValueError: A channel is missing, unknown, or its value is not finite.
        """
        if action:
            self._act(vector_of(action, self.channels))
        return action

    # There is nothing to calibrate or configure.

    @property
    def is_calibrated(self) -> bool:
        return True

    def calibrate(self) -> None:
        pass

    def configure(self) -> None:
        pass
