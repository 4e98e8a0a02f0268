"""`video.mp4`: checked without decoding, then decoded frame by frame."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from recordings_to_lerobot.validation import RecordingError

_REEXPORT = "re-export the recording"


def check_video(path: Path, size_px: tuple[int, int], n_frames: int) -> None:
    """Checks size, integrity and number of frames of a video by its packets alone.

    Raises:
        RecordingError: It is damaged, or is not of `size_px` (width, height) or `n_frames`.
    """
    try:
        with _open(path) as container:
            if not container.streams.video:
                raise RecordingError(f"{path}: holds no video stream; {_REEXPORT}")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise RecordingError(f"{path}: its codec is unknown to FFmpeg; re-encode it, for example as H.264")
            found_px = (stream.codec_context.width, stream.codec_context.height)
            promised = stream.frames
            found = whole = shown = 0
            for packet in container.demux(stream):
                if packet.size:  # the last one only flushes
                    found += 1
                    whole += not packet.is_corrupt
                    shown += not packet.is_corrupt and not packet.is_discard
    except av.FFmpegError as error:
        raise RecordingError(f"{path}: damaged or cut off ({error.strerror}); {_REEXPORT}") from None
    if found_px != size_px:
        raise RecordingError(
            f"{path}: pictures are {_size(found_px)}, but the canvas in meta.json is {_size(size_px)}; "
            "correct meta.json or re-export"
        )
    if whole < max(promised, found):
        raise RecordingError(f"{path}: cut off after {whole} of {max(promised, found)} frames; {_REEXPORT}")
    if shown != n_frames:
        raise RecordingError(f"{path}: {shown} frames, but frame_ts.bin has {n_frames} ticks; {_REEXPORT}")


def iterate_frames(path: Path, frame_index: np.ndarray) -> Iterator[np.ndarray]:
    """Decodes the frames whose index in presentation order is in `frame_index` (N,), which never decreases.

    Yields:
        One picture for each index, (H, W, 3) uint8 RGB; a repeated index yields the same picture again.

    Raises:
        RecordingError: A frame cannot be decoded, or the video ends too early.
    """
    assert np.all(frame_index[1:] >= frame_index[:-1])
    row = 0
    decoded = 0
    try:
        with _open(path) as container:
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                if row == len(frame_index):
                    return
                if frame_index[row] == decoded:
                    picture = frame.to_ndarray(format="rgb24")
                    while row < len(frame_index) and frame_index[row] == decoded:
                        yield picture
                        row += 1
                decoded += 1
    except av.FFmpegError as error:
        raise RecordingError(f"{path}: frame {decoded} cannot be decoded ({error.strerror}); {_REEXPORT}") from None
    if row < len(frame_index):
        raise RecordingError(f"{path}: frame {frame_index[row]} cannot be decoded; {_REEXPORT}")


def _open(path: Path) -> av.container.InputContainer:
    # Titles and the like may be in any encoding; nothing here reads them.
    return av.open(path, metadata_errors="replace")


def _size(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]}×{size_px[1]}"
