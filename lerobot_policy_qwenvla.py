"""What LeRobot imports when it finds the distribution `lerobot_policy_qwenvla`: registers everything."""

import lerobot_qwenvla  # noqa: F401
