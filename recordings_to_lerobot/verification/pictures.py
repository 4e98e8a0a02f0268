"""The pictures of an episode, each beside the frame of the recording that it must show, and beside its neighbours."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from recordings_to_lerobot.alignment.timeline import kept_frames
from recordings_to_lerobot.recordings.recording import Recording
from recordings_to_lerobot.verification.findings import Findings
from recordings_to_lerobot.verification.stored import StoredEpisode
from recordings_to_lerobot.video.decode import open_video, scale

# A picture that is this much worse than an episode must be as a whole shows something else.
ROW_SLACK_DB = 10.0
# A picture may be nearer to a neighbour of its frame by this share of what the two differ. Noise that an encoder
# smooths away gives up to 0.2; the picture of the neighbour gives 0.8 to 1.
MAX_NEARER = 0.25
# LeRobot's tolerance between the time of a row and that of its picture.
_TOLERANCE_S = 1e-4
# Frames whose mean squared difference, in grey levels, is less may be one picture to an encoder: a change of one
# level everywhere makes 1, noise that an encoder smooths away up to 2.
NOTICEABLE_MSE = 4.0
# Every so many-th line of pixels is enough to tell which of two frames is nearer.
_LINE_STEP = 4


def check_pictures(
    findings: Findings,
    stored: StoredEpisode,
    recording: Recording,
    frame_index: list[int],
    keep_duplicates: bool,
    min_psnr_db: float,
) -> str:
    """Checks every picture against the frame that its row must show; returns a digest of that of the sample row."""
    is_copied = stored.record["video"] == "copied"
    check = "pictures of copied videos" if is_copied else "pictures of encoded videos"
    kept = kept_frames(recording.frame_ticks, keep_duplicates)
    pictures = dataset_pictures(stored.video, stored.from_s, stored.columns["timestamp"])
    sources = with_neighbours(source_pictures(recording.video, kept, stored.size_px))
    row, sample, errors = 0, "", []
    try:
        for frame, (before, own, after) in zip(kept.tolist(), sources, strict=False):
            while row < len(frame_index) and frame_index[row] == frame:
                picture = next(pictures)
                if picture is None or picture.shape != own.shape:
                    what = "no picture" if picture is None else f"a picture of shape {picture.shape}"
                    findings.fail(check, f"row {row}: has {what}, expected one of {own.shape}")
                else:
                    match = match_picture(picture, before, own, after)
                    errors.append(match.mse)
                    psnr = psnr_db(match.mse)
                    wanted = math.inf if is_copied else min_psnr_db - ROW_SLACK_DB
                    problem = f"row {row}: PSNR to frame {frame} is {psnr:.1f} dB, expected {wanted:g}"
                    findings.expect(check, psnr >= wanted, problem)
                    findings.note_worst(check, -psnr, _decibels(psnr))
                    _check_nearness(findings, row, frame, match.nearness)
                if row == stored.sample_row and picture is not None:
                    sample = hashlib.blake2b(picture.tobytes()).hexdigest()
                row += 1
        if row < len(frame_index):
            findings.fail(check, f"row {row}: the recording has no frame {frame_index[row]}")
    except av.FFmpegError as error:
        findings.fail(check, f"row {row}: cannot be decoded ({error.strerror})")
    if errors and not is_copied:
        psnr = psnr_db(sum(errors) / len(errors))
        check = "quality of encoded videos"
        findings.expect(check, psnr >= min_psnr_db, f"PSNR is {psnr:.1f} dB, expected at least {min_psnr_db:g}")
        findings.note_worst(check, -psnr, _decibels(psnr))
    return sample


def _check_nearness(findings: Findings, row: int, frame: int, nearness: float) -> None:
    check = "pictures not off by one"
    findings.note_worst(check, -nearness, f"{nearness:.2f}")
    problem = f"row {row}: is nearer to a neighbour of frame {frame}: {nearness:.2f}, expected at least {-MAX_NEARER}"
    findings.expect(check, nearness >= -MAX_NEARER, problem)


def _decibels(psnr: float) -> str:
    return "identical" if psnr == math.inf else f"{psnr:.1f} dB"


def psnr_db(mse: float) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures with this mean squared error."""
    return 10 * math.log10(255**2 / mse) if mse else math.inf


def source_pictures(path: Path, frames: np.ndarray, size_px: tuple[int, int] | None) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3) uint8 of a recording, by their ascending place in the video (K,), at a size if given."""
    wanted = set(frames.tolist())
    with open_video(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                if size_px is not None:
                    frame = scale(frame, size_px, "rgb24")
                yield frame.to_ndarray(format="rgb24")


def dataset_pictures(path: Path, from_s: float, timestamp: np.ndarray) -> Iterator[np.ndarray | None]:
    """Pictures (H, W, 3) uint8 that LeRobot finds for the rows of an episode; None where there is none in time.

    LeRobot seeks anew for every picture. This seeks once and reads on, which gives the same, faster. Times are
    compared as `decode_video_frames` does, in float32.

    Args:
        path: The video.
        from_s: Where the episode begins in it.
        timestamp: (N,) float32, times of the rows since then, never decreasing.
    """
    wanted_s = from_s + timestamp.astype(np.float64)  # (N,)
    query_s = wanted_s.astype(np.float32)  # (N,)
    row = 0
    with open_video(path) as container:
        # Without threads for frames, as LeRobot decodes: with them, damaged pictures come out in another way each time.
        stream = container.streams.video[0]
        assert stream.time_base is not None
        container.seek(round(wanted_s[0] / stream.time_base) - 1, stream=stream)
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            time_s = np.float32(float(frame.pts * stream.time_base))
            while row < len(query_s):
                if abs(query_s[row] - time_s) < np.float32(_TOLERANCE_S):
                    yield frame.to_ndarray(format="rgb24")
                elif query_s[row] < time_s:
                    yield None
                else:
                    break
                row += 1
            if row == len(query_s):
                return
    yield from [None] * (len(query_s) - row)


def with_neighbours[T](items: Iterable[T]) -> Iterator[tuple[T | None, T, T | None]]:
    """Each item with the one before and the one after it."""
    before = own = None
    for after in items:
        if own is not None:
            yield before, own, after
        before, own = own, after
    if own is not None:
        yield before, own, None


@dataclass(frozen=True)
class PictureMatch:
    """How well a picture shows its frame."""

    mse: float  # mean squared error in grey levels, 0 if identical
    # 1 where it is as near to its own frame as can be, 0 halfway to a neighbour in time, -1 where it is the neighbour
    nearness: float


def match_picture(
    picture: np.ndarray, before: np.ndarray | None, own: np.ndarray, after: np.ndarray | None
) -> PictureMatch:
    """Compares a picture with its frame and with those before and after it, all (H, W, 3) uint8."""
    if np.array_equal(picture, own):
        return PictureMatch(0.0, 1.0)
    error = picture.astype(np.float32) - own
    mse = float(np.vdot(error, error)) / own.size
    lines = own[::_LINE_STEP].astype(np.float32)
    nearness = 1.0
    for other in (before, after):
        if other is None:
            continue
        step = lines - other[::_LINE_STEP]
        difference = float(np.vdot(step, step))
        if difference >= NOTICEABLE_MSE * step.size:
            # |picture − other|² − |picture − own|², as a share of |own − other|²
            nearness = min(nearness, 1 + 2 * float(np.vdot(error[::_LINE_STEP], step)) / difference)
    return PictureMatch(mse, nearness)
