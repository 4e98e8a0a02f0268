import time

import av
import numpy as np
import pytest
from lerobot.datasets.video_utils import StreamingVideoEncoder

from recordings_to_lerobot.action_schema import CHANNELS
from recordings_to_lerobot.dataset_writer import BackPressureEncoder, new_dataset

N_FRAMES = 8


class SlowPicture(np.ndarray):
    """A picture that keeps the encoder busy for longer than LeRobot is willing to wait."""

    @property
    def __array_interface__(self) -> dict:
        time.sleep(0.25)
        return np.asarray(self).__array_interface__


@pytest.mark.parametrize(
    ("encoder_class", "loses_frames"), [(StreamingVideoEncoder, True), (BackPressureEncoder, False)]
)
def test_slow_encoder_loses_no_frame_although_the_stock_one_does(tmp_path, encoder_class, loses_frames):
    encoder = encoder_class(fps=10, queue_maxsize=1)
    encoder.start_episode(["screen"], tmp_path)
    for _ in range(N_FRAMES):
        encoder.feed_frame("screen", np.zeros((64, 64, 3), dtype=np.uint8).view(SlowPicture))
    path, _ = encoder.finish_episode()["screen"]
    with av.open(path) as container:
        assert (container.streams.video[0].frames < N_FRAMES) == loses_frames


def test_lerobot_writes_through_the_encoder_that_never_drops(tmp_path):
    with new_dataset("tests/pinned", tmp_path / "dataset", 10, (64, 64), CHANNELS) as dataset:
        assert isinstance(dataset.writer._streaming_encoder, BackPressureEncoder)
