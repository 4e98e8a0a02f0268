import os
import sys

import av
import numpy as np
import pytest

from recordings_to_lerobot.video.encode import EncoderSettings, encode_video


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of Linux")
@pytest.mark.parametrize("encoder", ["libsvtav1", "h264"])
def test_encoding_leaves_no_thread_that_starves_others(tmp_path, encoder):
    before = os.sched_getscheduler(0)
    frames = (av.VideoFrame.from_ndarray(np.full((64, 64, 3), i, np.uint8), format="rgb24") for i in range(3))
    encode_video(frames, tmp_path / "video.mp4", 10, EncoderSettings(encoder, "yuv420p", {}))
    assert {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")} == {before}
    with av.open(tmp_path / "video.mp4") as video:
        assert len(list(video.decode(video=0))) == 3
