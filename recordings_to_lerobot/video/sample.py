"""Statistics of the pictures of an episode, from a sample of them, in the form LeRobot keeps them."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.video.decode import REEXPORT, iterate_frames, open_video
from recordings_to_lerobot.video.probe import VideoFacts

_MAX_PICTURES = 16
# A video with fewer key frames than this is decoded in full to find pictures.
_MIN_PICTURES = 8
# Every so many-th pixel in both directions; neighbours tell nothing new.
_PIXEL_STEP = 2
_LEVELS = 256
# LeRobot's names of its quantiles.
_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


def sample_levels(path: Path, facts: VideoFacts) -> np.ndarray:
    """How often each colour has each of its levels in pictures spread over the video.  # (3, 256) int64

    Raises:
        RecordingError: A picture cannot be decoded.
    """
    try:
        pictures = list(_key_frames(path, every=max(1, facts.n_key_frames // _MAX_PICTURES)))
    except av.FFmpegError as error:
        raise RecordingError(f"{path}: a key frame cannot be decoded ({error.strerror}); {REEXPORT}") from None
    if len(pictures) < min(_MIN_PICTURES, facts.n_frames):
        wanted = np.unique(np.linspace(0, facts.n_frames - 1, _MIN_PICTURES).round().astype(int))
        pictures = [_thinned(frame) for frame in iterate_frames(path, wanted)]
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures])  # (P, 3)
    return np.stack([np.bincount(pixels[:, colour], minlength=_LEVELS) for colour in range(3)])


def _key_frames(path: Path, every: int) -> Iterator[np.ndarray]:
    """Every so many-th key frame, each decoded by itself."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        packets = (packet for packet in container.demux(stream) if packet.size and packet.is_keyframe)
        for packet in itertools.islice(packets, 0, None, every):
            for frame in (*stream.codec_context.decode(packet), *stream.codec_context.decode(None)):
                yield _thinned(frame)
            stream.codec_context.flush_buffers()


def _thinned(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="rgb24")[::_PIXEL_STEP, ::_PIXEL_STEP]


def picture_statistics(levels: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of each colour in [0, 1] from how often it has each level (3, 256).

    Returns:
        `min`, `max`, `mean`, `std` and quantiles of shape (3, 1, 1), and the `count` of pixels of shape (1,).
    """
    value = np.arange(_LEVELS) / (_LEVELS - 1)
    count = levels.sum(axis=1)  # (3,)
    mean = levels @ value / count
    cumulated = levels.cumsum(axis=1)  # (3, 256)
    first_of = {"min": 0, "max": count[:, None], **{name: q * count[:, None] for name, q in _QUANTILES.items()}}
    statistics = {
        "mean": mean,
        "std": np.sqrt(np.maximum(levels @ value**2 / count - mean**2, 0)),
        # The first level at or below which so many pixels are; the lowest one there is for none.
        **{name: value[(cumulated >= np.maximum(wanted, 1)).argmax(axis=1)] for name, wanted in first_of.items()},
    }
    return {"count": count[:1], **{name: values.reshape(3, 1, 1) for name, values in statistics.items()}}
