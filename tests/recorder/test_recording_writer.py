import json

import av
import numpy as np
import pytest

from lerobot_qwenvla.devices.input_device import InputEvent
from lerobot_qwenvla.recorder.recording_writer import RecordingWriter


def screens(canvas_px, n=6):
    """Smooth colours that drift.  # (n, canvas_h, canvas_w, 3) uint8"""
    width, height = canvas_px
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 200, height))
    return np.stack([np.stack([x, y, np.full_like(x, 20 * i)], axis=-1) for i in range(n)]).astype(np.uint8)


def write(folder, canvas_px=(64, 48)):
    with RecordingWriter(folder, canvas_px, fps=10) as writer:
        for i, screen in enumerate(screens(canvas_px)):
            writer.add_frame(screen, tick=2**40 + i)
        writer.add_event(InputEvent(2**40, "keydown", {"vk": 87}))
        writer.finish({"fps": 10})


def decode(folder):
    with av.open(folder / "video.mp4") as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


@pytest.mark.parametrize("canvas_px", [(64, 48), (65, 48), (64, 47), (33, 31)])
def test_pictures_of_any_size_come_back(tmp_path, canvas_px):
    write(tmp_path / "episode", canvas_px)
    pictures = decode(tmp_path / "episode")
    assert pictures.shape == (6, canvas_px[1], canvas_px[0], 3)
    assert np.abs(pictures.astype(int) - screens(canvas_px)).mean() < 4


def test_video_is_h264_at_the_given_rate(tmp_path):
    write(tmp_path / "episode")
    with av.open(tmp_path / "episode" / "video.mp4") as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate, stream.pix_fmt) == ("h264", 10, "yuv420p")


def test_ticks_are_little_endian_int64(tmp_path):
    write(tmp_path / "episode")
    data = (tmp_path / "episode" / "frame_ts.bin").read_bytes()
    assert [int.from_bytes(data[i : i + 8], "little") for i in range(0, 48, 8)] == [2**40 + i for i in range(6)]
    assert len(data) == 48


def test_events_and_meta_are_json(tmp_path):
    write(tmp_path / "episode")
    events = (tmp_path / "episode" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in events] == [{"ts": 2**40, "kind": "keydown", "vk": 87}]
    assert json.loads((tmp_path / "episode" / "meta.json").read_text()) == {"fps": 10}


def test_nothing_but_the_episode_is_left(tmp_path):
    write(tmp_path / "all" / "episode")
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["episode"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_episode_leaves_nothing(tmp_path, error):
    with pytest.raises(error), RecordingWriter(tmp_path / "episode", (64, 48), fps=10) as writer:
        writer.add_frame(screens((64, 48))[0], tick=0)
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_episode_that_is_not_finished_leaves_nothing(tmp_path):
    with RecordingWriter(tmp_path / "episode", (64, 48), fps=10) as writer:
        writer.add_frame(screens((64, 48))[0], tick=0)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_episode_is_never_overwritten(tmp_path):
    write(tmp_path / "episode")
    before = (tmp_path / "episode" / "video.mp4").read_bytes()
    with pytest.raises(ValueError, match="never overwritten"):
        write(tmp_path / "episode")
    assert (tmp_path / "episode" / "video.mp4").read_bytes() == before
