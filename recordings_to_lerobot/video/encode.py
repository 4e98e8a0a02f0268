"""Encodes the frames of an episode to a video of its own."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

# The encoder else reports its settings for each episode.
os.environ.setdefault("SVT_LOG", "1")


@dataclass(frozen=True)
class EncoderSettings:
    """LeRobot's encoder configuration in the terms of FFmpeg."""

    encoder: str
    pix_fmt: str
    options: dict[str, str]


def encode_video(frames: Iterable[av.VideoFrame], path: Path, fps: int, settings: EncoderSettings) -> None:
    """Encodes frames at a constant rate, each one: the next is decoded when the encoder has taken the last.

    Frames of the wanted pixel format are encoded as they are. The detour through RGB that LeRobot's own encoder
    takes loses 0.7 dB at 384×384, and time.
    """
    with av.open(path, "w") as container:
        for row, frame in enumerate(frames):
            if row == 0:
                stream = container.add_stream(settings.encoder, rate=fps, options=settings.options)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, settings.pix_fmt
                stream.time_base = Fraction(1, fps)  # until the file begins: then it is the file's
                if frame.format.name == settings.pix_fmt:
                    stream.codec_context.color_range = frame.color_range
                    stream.codec_context.colorspace = frame.colorspace
            if frame.format.name != settings.pix_fmt:
                frame = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")
            frame.pts, frame.time_base = row, Fraction(1, fps)
            # Else the encoder would put its key frames where the source has them.
            frame.pict_type = av.video.frame.PictureType.NONE
            with _same_priority() if row == 0 else contextlib.nullcontext():
                packets = stream.encode(frame)
            container.mux(packets)
        container.mux(stream.encode())


@contextlib.contextmanager
def _same_priority() -> Iterator[None]:
    """SVT-AV1, as root, makes its threads and the one that opens it real-time ones: all else on the machine starves."""
    if sys.platform != "linux":
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(int(thread), policy, priority)
