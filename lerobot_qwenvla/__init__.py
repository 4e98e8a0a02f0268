"""QwenVLA: a vision-language-action policy for LeRobot that sees a screen and uses mouse and keyboard.

Importing this package registers the policy `qwenvla` and the environment `miniworld` with LeRobot.
"""

from lerobot_qwenvla.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.envs.configuration_miniworld import MiniworldEnvConfig

__all__ = ["MiniworldEnvConfig", "QwenVLAConfig"]
