"""A person's mouse and keyboard as LeRobot teleoperator."""

import contextlib

from lerobot.lerobot_types import RobotAction
from lerobot.teleoperators import Teleoperator
from lerobot.utils.decorators import check_if_already_connected, check_if_not_connected

from lerobot_qwenvla.devices.clock import now
from lerobot_qwenvla.devices.desktop.config_mouse_keyboard import MouseKeyboardConfig
from lerobot_qwenvla.devices.desktop.listener import DesktopListener
from lerobot_qwenvla.devices.desktop.mouse_modes import channels_of
from lerobot_qwenvla.devices.desktop.region import ScreenRegion
from lerobot_qwenvla.devices.desktop.support import require_desktop
from lerobot_qwenvla.devices.input_device import InputDevice
from lerobot_qwenvla.devices.robot_features import features_of, values_of


class MouseKeyboard(Teleoperator):
    """What mouse and keyboard did since the last action: a key is down if it was down at any moment."""

    config_class = MouseKeyboardConfig
    name = "mouse_keyboard"

    def __init__(self, config: MouseKeyboardConfig):
        """Raises ValueError for an unknown kind of mouse."""
        super().__init__(config)
        self.config = config
        self.channels = channels_of(config.mouse)
        self._canvas_px = (config.canvas_w, config.canvas_h)
        self._open: contextlib.ExitStack | None = None

    @property
    def action_features(self) -> dict:
        return features_of(self.channels)

    @property
    def feedback_features(self) -> dict:
        return {}

    @property
    def is_connected(self) -> bool:
        return self._open is not None

    @check_if_already_connected
    def connect(self, calibrate: bool = True) -> None:
        """Look whether there is a desktop; LeRobot connects the robot, whose window it may be, only after this.

        Raises:
            NoDesktopError: There is no desktop, or it lets no program listen.
        """
        require_desktop()
        self._open = contextlib.ExitStack()
        self._region = None

    @check_if_not_connected
    def get_action(self) -> RobotAction:
        """What was done since the last call.

        Raises:
            ValueError: There is no such window, or not one alone, or the region is outside the screen.
        """
        if self._region is None:
            self._begin()
        self._region.find()
        action = self._device.play(self._listener.take_before(now()))
        if self.config.mouse == "delta":
            before, self._mouse = self._mouse, action[:2].copy()
            action[:2] = (self._mouse - before) / 2
        return values_of(action, self.channels)

    def _begin(self) -> None:
        region = ScreenRegion(self.config.window, self.config.region)
        self._open.callback(region.close)
        self._listener = self._open.enter_context(DesktopListener(lambda: region.box, self._canvas_px))
        self._device = InputDevice(self._canvas_px)
        self._device.play(self._listener.take_before(now()))
        self._mouse = self._device.state[:2]
        self._region = region

    @check_if_not_connected
    def disconnect(self) -> None:
        open_, self._open = self._open, None
        open_.close()

    # A mouse has nothing to calibrate or to feel.

    @property
    def is_calibrated(self) -> bool:
        return True

    def calibrate(self) -> None:
        pass

    def configure(self) -> None:
        pass

    def send_feedback(self, feedback: dict) -> None:
        pass
