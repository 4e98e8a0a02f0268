"""Any window as a LeRobot robot, which a person can take over at any moment."""

import contextlib
import logging

import numpy as np
from lerobot.utils.decorators import check_if_already_connected, check_if_not_connected

from lerobot_qwenvla.devices.clock import now
from lerobot_qwenvla.devices.desktop.config_window_robot import WindowRobotConfig
from lerobot_qwenvla.devices.desktop.hands import Hands
from lerobot_qwenvla.devices.desktop.listener import DesktopListener
from lerobot_qwenvla.devices.desktop.mouse_modes import channels_of
from lerobot_qwenvla.devices.desktop.performer import Performer
from lerobot_qwenvla.devices.desktop.region import ScreenRegion
from lerobot_qwenvla.devices.desktop.support import require_desktop
from lerobot_qwenvla.devices.executor import Executor, RealTimeExecutor
from lerobot_qwenvla.devices.input_device import InputDevice
from lerobot_qwenvla.devices.input_robot import InputRobot

logger = logging.getLogger(__name__)


class WindowRobot(InputRobot):
    """A window, mouse and keyboard. While a person has them, actions are not performed, and the state is theirs."""

    config_class = WindowRobotConfig
    name = "window"

    def __init__(self, config: WindowRobotConfig):
        """Raises ValueError if a setting is wrong; nothing happens before the robot is connected."""
        super().__init__(config)
        if not (config.fps > 0 and config.max_rate_hz > 0):
            raise ValueError(f"fps={config.fps} and max_rate_hz={config.max_rate_hz} must be above 0")
        self.config = config
        self.channels = channels_of(config.mouse)
        self.canvas_px = (config.canvas_w, config.canvas_h)
        self._region: ScreenRegion | None = None

    @property
    def is_connected(self) -> bool:
        return self._region is not None

    @property
    def is_in_a_persons_hands(self) -> bool:
        """Whether a person has mouse and keyboard."""
        return self._performer.is_interrupted

    @check_if_already_connected
    def connect(self, calibrate: bool = True) -> None:
        """Take mouse and keyboard.

        Raises:
            NoDesktopError: There is no desktop, or it lets no program watch or move mouse and keyboard.
            ValueError: There is no such window, or not one alone, or the region is outside the screen.
        """
        require_desktop()
        config = self.config
        region = ScreenRegion(config.window, config.region)
        with contextlib.ExitStack() as stack:
            stack.callback(region.close)
            executor = RealTimeExecutor(Executor(config.execution, self.channels), 1 / config.fps)
            hands = Hands(region, self.canvas_px, self.channels)
            self._performer = stack.enter_context(Performer(executor, hands, 1 / config.max_rate_hz))
            self._listener = stack.enter_context(
                DesktopListener(
                    lambda: region.box,
                    self.canvas_px,
                    hotkeys={config.hotkey.upper(): self._performer.toggle},
                    on_input=self._performer.interrupt if config.interrupt else lambda: None,
                )
            )
            self._person = InputDevice(self.canvas_px)
            self._open = stack.pop_all()
        self._region = region
        logger.info("Playing %s; %s hands mouse and keyboard over and back", region.box, config.hotkey)

    @check_if_not_connected
    def disconnect(self) -> None:
        self._open.close()
        self._region = None

    def _observe(self) -> tuple[np.ndarray, np.ndarray]:
        screen = self._region.grab(self.canvas_px)
        self._person.play(self._listener.take_before(now()))
        if not self._performer.is_interrupted:
            return screen, self._performer.state
        state = self._person.state
        if self.config.mouse == "delta":
            state[:2] = 0
        return screen, state

    def _act(self, action: np.ndarray) -> None:
        self._performer.send(action)
