"""Packs the videos of episodes into the files of a dataset by copying their packets."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from recordings_to_lerobot.video.decode import open_video
from recordings_to_lerobot.video.probe import VideoFacts


@dataclass(frozen=True)
class DatasetFile:
    """A file of a dataset, by LeRobot's numbering."""

    path: Path
    chunk_index: int
    file_index: int


@dataclass(frozen=True)
class VideoPlace:
    """Where the video of an episode lies among the files of a dataset."""

    file: DatasetFile
    from_s: float
    to_s: float


# LeRobot adds the time in an episode, a float32, to where the episode begins, and compares the sum as float32 with a
# tolerance of 1e-4 s. Three roundings stay below that while times are below 2^10 s. Alone, an episode begins at 0.
MAX_SHARED_S = 1024
# Recordings of more encoders than this are packed less tightly.
_MAX_OPEN_FILES = 32


class VideoPacker:
    """Packs the videos of episodes into few files by copying their packets, restamped to a constant rate.

    Each packet is written once. LeRobot appends an episode by rewriting the file it goes to, which takes a time
    that grows with the square of the number of episodes.
    """

    def __init__(self, files: Iterator[DatasetFile], fps: int, max_file_bytes: float, delay_frames: int):
        """Takes as many of `files` as it needs; no video to come runs ahead by more than `delay_frames`."""
        self._files = files
        self._fps = fps
        self._max_file_bytes = max_file_bytes
        self._delay_frames = delay_frames
        # A file has one set of decoder parameters, so the packets of each encoder go to files of their own.
        self._open: dict[str, _OpenFile] = {}

    def append(self, source: Path, facts: VideoFacts) -> VideoPlace:
        """Copies all packets of a video, which stands alone."""
        assert facts.stands_alone and facts.delay_frames <= self._delay_frames
        frame_of_packet = facts.frame_of_packet
        n_bytes, n_frames = source.stat().st_size, len(frame_of_packet)
        with open_video(source) as container:
            template = container.streams.video[0]
            target = self._open.get(facts.parameters)
            is_full = target is not None and (
                target.n_bytes + n_bytes >= self._max_file_bytes
                or target.n_frames + n_frames >= MAX_SHARED_S * self._fps
            )
            if is_full:
                self._open.pop(facts.parameters).container.close()
                target = None
            if target is None:
                if len(self._open) == _MAX_OPEN_FILES:
                    self._open.pop(next(iter(self._open))).container.close()
                target = self._open[facts.parameters] = _OpenFile(next(self._files), template, self._fps)
            packets = (packet for packet in container.demux(template) if packet.size)
            for stored, (packet, shown) in enumerate(zip(packets, frame_of_packet.tolist(), strict=True)):
                packet.stream = target.stream
                packet.time_base = Fraction(1, self._fps)
                packet.pts = target.n_frames + shown
                packet.dts = target.n_frames + stored - self._delay_frames
                packet.duration = 1
                target.container.mux(packet)
        first_frame = target.n_frames
        target.n_frames += n_frames
        target.n_bytes += n_bytes
        return VideoPlace(target.file, first_frame / self._fps, target.n_frames / self._fps)

    def close(self) -> None:
        """Finishes all files."""
        with contextlib.ExitStack() as stack:
            while self._open:
                stack.callback(self._open.popitem()[1].container.close)


class _OpenFile:
    def __init__(self, file: DatasetFile, template: av.VideoStream, fps: int):
        self.file = file
        file.path.parent.mkdir(parents=True, exist_ok=True)
        # LeRobot, too, puts the index of a video first, where a reader over the network finds it at once.
        self.container = av.open(file.path, "w", container_options={"movflags": "faststart"})
        self.stream = self.container.add_stream_from_template(template, opaque=True)
        self.stream.time_base = Fraction(1, fps)
        self.n_frames = self.n_bytes = 0
