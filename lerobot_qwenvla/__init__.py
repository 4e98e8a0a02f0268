"""QwenVLA: a vision-language-action policy for LeRobot that sees a screen and uses mouse and keyboard.

Importing this package registers the policy `qwenvla`, the environment `miniworld` and the robot `miniworld` with LeRobot.
"""

from lerobot_qwenvla.miniworld.configuration_miniworld import MiniworldEnvConfig
from lerobot_qwenvla.miniworld.robot.config_miniworld_robot import MiniworldRobotConfig
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

__all__ = ["MiniworldEnvConfig", "MiniworldRobotConfig", "QwenVLAConfig"]
