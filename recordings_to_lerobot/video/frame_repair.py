"""Gives every frame of a video a tick where a recorder has lost some of either, by the video's own clock."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from recordings_to_lerobot.recordings.find import FRAME_TICKS_FILE
from recordings_to_lerobot.recordings.recording import Recording, TickRepair
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.video.decode import REEXPORT, open_video

# Of more than this share of all frames, and more than so many, it is another recording that the ticks belong to.
_MAX_LOST_SHARE = 0.05
_MAX_LOST = 3


def repair_frame_ticks(recording: Recording) -> Recording:
    """The recording with one tick per frame of its video, itself if that was so.

    Frames without a tick get one from the times of the video between those of their neighbours; ticks without a frame
    are dropped.

    Raises:
        RecordingError: The video cannot be read, or too many are lost to tell which.
    """
    path = recording.video
    pts_ns = presentation_times(path)
    n_frames, n_ticks = len(pts_ns), len(recording.frame_ticks)
    if n_frames == n_ticks:
        return recording
    lost = abs(n_frames - n_ticks)
    if n_frames == 0 or lost > max(_MAX_LOST, _MAX_LOST_SHARE * max(n_frames, n_ticks)):
        raise RecordingError(
            f"{path}: {n_frames} frames, but {FRAME_TICKS_FILE} has {n_ticks} ticks, too few of one to be lost frames; "
            f"{REEXPORT}"
        )
    ticks, repair = match_ticks(recording.frame_ticks, pts_ns, recording.meta.qpc_freq)
    return replace(recording, frame_ticks=ticks, tick_repair=repair)


def presentation_times(path: Path) -> np.ndarray:
    """When each frame of a video is shown, in order.  # (P,) int64 ns

    Raises:
        RecordingError: It is damaged, or does not say.
    """
    try:
        with open_video(path) as container:
            stream = container.streams.video[0]
            assert stream.time_base is not None
            numerator, denominator = stream.time_base.as_integer_ratio()
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
            pts = [packet.pts * numerator * 10**9 // denominator for packet in packets]
    except (av.FFmpegError, IndexError, TypeError) as error:
        raise RecordingError(f"{path}: its frames have no times ({error}); {REEXPORT}") from None
    return np.sort(np.array(pts, dtype=np.int64))


def match_ticks(ticks: np.ndarray, pts_ns: np.ndarray, qpc_freq: int) -> tuple[np.ndarray, TickRepair]:
    """One tick for each of P frames shown at `pts_ns`, from F of them, where some of either are lost in one place.

    The place is where the intervals of ticks and frames then fit best; the end, if they do not tell.

    Returns:
        Ticks (P,) int64, never decreasing, and what was done.
    """
    n_frames, n_ticks = len(pts_ns), len(ticks)
    lost = abs(n_frames - n_ticks)
    clock = (ticks - ticks[0]).astype(np.float64)  # (F,)
    video = (pts_ns - pts_ns[0]) * (qpc_freq / 1e9)  # (P,) in ticks
    # Recorders that write a nominal rate into the video may have been slower.
    fits = [(video * rate, *_place_of_loss(video * rate, clock)) for rate in (1.0, _relative_rate(clock, video))]
    video, place, _ = min(fits, key=lambda fit: fit[2])
    if n_frames < n_ticks:
        kept = np.delete(ticks, np.s_[place : place + lost])
        return kept, TickRepair(np.zeros(n_frames, dtype=bool), n_dropped=lost)
    known = np.delete(np.arange(n_frames), np.s_[place : place + lost])  # (F,)
    repaired = ticks[0] + np.round(_interpolated(video, video[known], clock)).astype(np.int64)
    repaired[known] = ticks
    is_interpolated = ~np.isin(np.arange(n_frames), known)
    return np.maximum.accumulate(repaired), TickRepair(is_interpolated, n_dropped=0)


def _relative_rate(clock: np.ndarray, video: np.ndarray) -> float:
    """How much longer an interval usually is on the clock than in the video; 1 if there are none to compare."""
    medians = [float(np.median(np.diff(times))) if len(times) > 1 else 0.0 for times in (clock, video)]
    return medians[0] / medians[1] if all(medians) else 1.0


def _place_of_loss(times: np.ndarray, others: np.ndarray) -> tuple[int, float]:
    """Before which of the S that both have those lie that only the longer has; how far the intervals then differ."""
    longer, shorter = sorted((times, others), key=len, reverse=True)
    lost = len(longer) - len(shorter)
    steps = np.diff(shorter)  # (S - 1,)
    before = np.append(0.0, np.cumsum(np.abs(np.diff(longer[: len(shorter)]) - steps)))  # (S,)
    after = np.append(0.0, np.cumsum(np.abs(np.diff(longer[lost:]) - steps)[::-1]))[::-1]  # (S,)
    across = np.abs(longer[lost + 1 :] - longer[: -lost - 1] - steps)  # (S - 1,)
    costs = np.concatenate([after[:1], before[:-1] + across + after[1:], before[-1:]])  # (S + 1,)
    # The last of those that are equal but for rounding.
    place = len(shorter) - int(np.argmin(np.round(costs)[::-1]))
    return place, float(costs[place])


def _interpolated(at: np.ndarray, known_at: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values between known ones; beyond the first and the last, as fast as `at` goes."""
    inside = np.interp(at, known_at, known)
    return inside + np.minimum(at - known_at[0], 0) + np.maximum(at - known_at[-1], 0)
