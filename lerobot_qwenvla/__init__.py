"""QwenVLA: a vision-language-action policy for LeRobot that sees a screen and uses mouse and keyboard.

Importing this package registers with LeRobot the policy `qwenvla`, the environment `miniworld`, the robots `miniworld`
and `window`, and the teleoperator `mouse_keyboard`.
"""

from lerobot_qwenvla.devices.desktop.config_mouse_keyboard import MouseKeyboardConfig
from lerobot_qwenvla.devices.desktop.config_window_robot import WindowRobotConfig
from lerobot_qwenvla.miniworld.configuration_miniworld import MiniworldEnvConfig
from lerobot_qwenvla.miniworld.robot.config_miniworld_robot import MiniworldRobotConfig
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

__all__ = ["MiniworldEnvConfig", "MiniworldRobotConfig", "MouseKeyboardConfig", "QwenVLAConfig", "WindowRobotConfig"]
