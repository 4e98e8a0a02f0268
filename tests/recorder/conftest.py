"""A small real world to play and record in, and the converter's view of a recording."""

import pytest

from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from recordings_to_lerobot.alignment.labels import label_recording
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.recordings.recording import read_recording


@pytest.fixture
def env():
    env = MiniworldEnv(canvas_w=64, canvas_h=48)
    env.reset(seed=0)
    yield env
    env.close()


@pytest.fixture(scope="session")
def converted_actions():
    """Actions (N, len(CHANNELS)) that the converter reads from an episode's folder."""
    return lambda folder: label_recording(read_recording(folder), LabelOptions()).action
