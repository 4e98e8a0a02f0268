"""The mouse-and-keyboard vector in the words of LeRobot's robots and teleoperators.

`lerobot-rollout` passes on only features whose names end in `.pos` or `.vel`; those in `.pos` it also drives back to
where they were at the end, so each channel is called `key.w.vel`. All are of type float: with bool, `lerobot-record`
writes a dataset without them.
"""

from collections.abc import Mapping

import numpy as np

SUFFIX = ".vel"


def features_of(channels: tuple[str, ...]) -> dict[str, type]:
    """LeRobot's description of these channels."""
    return {name + SUFFIX: float for name in channels}


def values_of(vector: np.ndarray, channels: tuple[str, ...]) -> dict[str, float]:
    """(len(channels),) as LeRobot's robots and teleoperators give it."""
    return {name + SUFFIX: float(value) for name, value in zip(channels, vector, strict=True)}


def vector_of(values: Mapping[str, float], channels: tuple[str, ...]) -> np.ndarray:
    """What LeRobot sends a robot.  # (len(channels),) float32

    Raises:
        ValueError: A channel is missing, or there are others; both are named.
    """
    expected = {name + SUFFIX for name in channels}
    if values.keys() != expected:
        missing, unknown = sorted(expected - values.keys()), sorted(values.keys() - expected)
        raise ValueError(
            f"the action lacks {missing or 'nothing'} and has {unknown or 'nothing'} that this robot does not know; "
            "send one value for each of its action features"
        )
    return np.array([values[name + SUFFIX] for name in channels], dtype=np.float32)
