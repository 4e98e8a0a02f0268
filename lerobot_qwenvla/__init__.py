"""QwenVLA: a vision-language-action policy for LeRobot that sees a screen and uses mouse and keyboard.

Importing this package registers the policy `qwenvla` and the environment `miniworld` with LeRobot.
"""

from lerobot_qwenvla.miniworld.configuration_miniworld import MiniworldEnvConfig
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

__all__ = ["MiniworldEnvConfig", "QwenVLAConfig"]
