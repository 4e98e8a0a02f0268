"""A video to watch: what was on the screen, and what mouse and keyboard did."""

import math
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path

import av
import numpy as np
from PIL import Image

from recordings_to_lerobot.alignment.labels import Labels
from recordings_to_lerobot.alignment.timeline import NS_PER_S
from recordings_to_lerobot.alignment.track import MousePath
from recordings_to_lerobot.inspection.painting import Painter
from recordings_to_lerobot.recordings.files import write_whole
from recordings_to_lerobot.recordings.recording import Recording
from recordings_to_lerobot.video.decode import iterate_frames

_ENCODER_OPTIONS = {"crf": "23", "preset": "superfast"}


def write_overlay(recording: Recording, labels: Labels, path: Path, max_s: float = math.inf) -> None:
    """Writes every row, up to `max_s` seconds, as a frame of an MP4 file, which appears when it is complete.

    Raises:
        RecordingError: A frame of the recording cannot be decoded.
    """
    fps = labels.fps
    rows = np.arange(int(min(len(labels.timeline), max(1.0, max_s * fps))))
    write_whole(path, lambda part: _encode(painted_rows(recording, labels, rows), part, fps))


def painted_rows(
    recording: Recording, labels: Labels, rows: Sequence[int] | np.ndarray, are_thumbnails: bool = False
) -> Iterator[Image.Image]:
    """Yields drawings of some rows, in increasing order: the picture of each with the action of the same row.

    Raises:
        RecordingError: A frame of the recording cannot be decoded.
    """
    meta, timeline = recording.meta, labels.timeline
    size_px = (meta.canvas_w, meta.canvas_h)
    painter = Painter(size_px, labels.channels, (meta.task or "").strip(), are_thumbnails)
    mouse = MousePath.of(recording.events, labels.event_ns, size_px)
    cursor = mouse.position[mouse.index_before(timeline.end_ns)]  # (N, 2), also where actions are movements
    frames = iterate_frames(recording.video, timeline.frame_index[rows])
    for row, frame in zip(rows, frames, strict=True):
        pressed = frozenset(compress(labels.channels, np.abs(labels.action[row]) > 0.5))
        time_s = (timeline.start_ns[row] - timeline.start_ns[0]) / NS_PER_S
        x, y = cursor[row].tolist()
        width_px, height_px = painter.picture_px
        scaled = frame.reformat(width=width_px, height=height_px, format="rgb24", interpolation="BICUBIC")
        yield painter.paint(scaled.to_image(), (x, y), pressed, time_s, int(row))


def _encode(pictures: Iterator[Image.Image], path: Path, fps: int) -> None:
    with av.open(path, "w", container_options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=_ENCODER_OPTIONS)
        for index, picture in enumerate(pictures):
            if index == 0:
                stream.width, stream.height = picture.size
                stream.pix_fmt = "yuv420p"  # what every player shows
            frame = av.VideoFrame.from_image(picture)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
