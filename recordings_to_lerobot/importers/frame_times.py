"""When the frames of a video were captured, by their presentation times (PTS)."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from recordings_to_lerobot.importers.neutral import LIMIT_NS, NS_PER_S
from recordings_to_lerobot.recordings.validation import RecordingError, require_file


@dataclass(frozen=True)
class VideoClock:
    """What the packets of a video tell about its F frames, in order of presentation."""

    size_px: tuple[int, int]
    fps: int  # as the container says, rounded
    pts_ns: np.ndarray  # (F,) int64, ascending
    unit_ns: int  # the container's resolution


@dataclass(frozen=True)
class FrameTimes:
    """When F frames were captured, and what had to be repaired to say so."""

    ns: np.ndarray  # (F,) int64, never decreasing
    repairs: Counter[str]


def read_video_clock(path: Path) -> VideoClock:
    """Reads the presentation times of a video without decoding it.

    Raises:
        RecordingError: It is missing, damaged, or its frames have no times.
    """
    require_file(path)
    try:
        with av.open(path, metadata_errors="replace") as container:
            if not container.streams.video:
                raise RecordingError(f"{path}: holds no video stream; re-export the recording")
            stream = container.streams.video[0]
            if stream.codec_context is None or stream.time_base is None:
                raise RecordingError(f"{path}: its codec is unknown to FFmpeg; re-encode it, for example as H.264")
            size_px = stream.codec_context.width, stream.codec_context.height
            rate = stream.average_rate or stream.guessed_rate
            # What is_discard hides, a player does not show; a damaged packet is left to the checks of the video.
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
            pts = sorted(packet.pts for packet in packets if packet.pts is not None)
    except av.FFmpegError as error:
        raise RecordingError(f"{path}: damaged or cut off ({error.strerror}); re-export the recording") from None
    if not pts or len(pts) < len(packets):
        raise RecordingError(f"{path}: {len(packets) - len(pts)} of {len(packets)} frames have no time; re-encode it")
    unit = stream.time_base * NS_PER_S
    if max(abs(pts[0]), abs(pts[-1])) * unit >= LIMIT_NS:
        raise RecordingError(f"{path}: frames lie more than a century apart; re-export the recording")
    pts_ns = np.array([int(value * unit) for value in pts], dtype=np.int64)
    fps = max(1, round(rate)) if rate else _median_rate(pts_ns)
    return VideoClock(size_px, fps, pts_ns, int(unit) + 1)


def _median_rate(pts_ns: np.ndarray) -> int:
    interval_ns = float(np.median(np.diff(pts_ns))) if len(pts_ns) > 1 else NS_PER_S
    return max(1, round(NS_PER_S / max(interval_ns, 1.0)))


def match_times(clock: VideoClock, logged_pts_ns: np.ndarray, logged_ns: np.ndarray) -> FrameTimes:
    """Times of the frames from M notes that say "the frame of this PTS is of this time".

    A frame without a note gets a time between those of its neighbours, in proportion to the PTS, or, before the
    first note, as far before it as the PTS says. Behind the last one nothing is known: such a frame repeats the
    time of the frame before it, which marks it as one to leave out.

    Args:
        logged_pts_ns: (M,) int64, in any order.
        logged_ns: (M,) int64, never decreasing along the PTS but by mistake.

    Raises:
        ValueError: No frame has a note.
    """
    pts_ns = clock.pts_ns
    order = np.argsort(logged_pts_ns, kind="stable")
    logged_pts_ns, logged_ns = logged_pts_ns[order], logged_ns[order]
    right = np.searchsorted(pts_ns, logged_pts_ns).clip(max=len(pts_ns) - 1)
    left = np.maximum(right - 1, 0)
    is_left = np.abs(pts_ns[left] - logged_pts_ns) <= np.abs(pts_ns[right] - logged_pts_ns)
    nearest = np.where(is_left, left, right)  # (M,)
    is_match = np.abs(pts_ns[nearest] - logged_pts_ns) <= clock.unit_ns
    frames, first = np.unique(nearest[is_match], return_index=True)  # (K,), the first note of each frame holds
    if not len(frames):
        raise ValueError("no time belongs to a frame of the video")
    known_ns = logged_ns[is_match][first]
    rising_ns = np.maximum.accumulate(known_ns)
    repairs = Counter(
        frame_times_without_frame=len(logged_ns) - len(frames),
        frame_times_put_in_order=int(np.count_nonzero(rising_ns != known_ns)),
        frame_times_interpolated=int(frames[-1]) + 1 - len(frames),
        frames_without_time=len(pts_ns) - 1 - int(frames[-1]),
    )
    return FrameTimes(_interpolated(pts_ns, frames, rising_ns), +repairs)


def _interpolated(pts_ns: np.ndarray, frames: np.ndarray, known_ns: np.ndarray) -> np.ndarray:
    """Times of all frames (F,) from those of some (K,), in integers."""
    ns = np.empty(len(pts_ns), dtype=np.int64)
    ns[: frames[0]] = known_ns[0] - (pts_ns[frames[0]] - pts_ns[: frames[0]])
    ns[frames] = known_ns
    ns[frames[-1] :] = known_ns[-1]
    for i in np.flatnonzero(np.diff(frames) > 1).tolist():
        start, stop = int(frames[i]), int(frames[i + 1])
        # As fractions of their own interval: nanoseconds since 1970 do not fit a float.
        share = (pts_ns[start + 1 : stop] - pts_ns[start]) / max(1, int(pts_ns[stop] - pts_ns[start]))
        ns[start + 1 : stop] = known_ns[i] + np.floor(share * int(known_ns[i + 1] - known_ns[i])).astype(np.int64)
    return ns
