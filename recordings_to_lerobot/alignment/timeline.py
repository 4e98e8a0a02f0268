"""Clock arithmetic: from recorder ticks to the moments at which the rows of a dataset begin and end.

Times are integer nanoseconds on the recorder's clock throughout, so that two moments compare exactly.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

# Leaves room to add and subtract any two times in 64 bits.
LIMIT_NS = 2**62

# Up to here the product of less than a second of ticks and 10^9 fits 64 bits.
_MAX_FREQ = (2**63 - 1) // NS_PER_S

# Of a frame's nominal period: a frame that is late by no more is shown in time.
SLACK = Fraction(1, 10)
_MAX_RATE_DENOMINATOR = 1001

# A recorder that sees nothing for longer has paused.
GAP_NS = NS_PER_S

# A clock that jumps by days would ask for a grid that fits no disk.
MAX_ROWS_PER_FRAME = 1000


NO_ROW = -1


@dataclass(frozen=True)
class Timeline:
    """The rows of an episode: row i shows one source frame and owns the events in [start, end).

    Where `frame_ns` differs from `start_ns`, the picture was taken before the row begins.
    """

    frame_index: np.ndarray  # (N,) int64, index in the source video, never decreasing
    frame_ns: np.ndarray  # (N,) int64, when that frame was captured
    start_ns: np.ndarray  # (N,) int64
    end_ns: np.ndarray  # (N,) int64, start of the next row

    def __len__(self) -> int:
        return len(self.frame_index)

    def row_at(self, time_ns: np.ndarray) -> np.ndarray:
        """The row in whose interval each moment (E,) lies, NO_ROW outside of all.  # (E,) int64"""
        latest = np.searchsorted(self.start_ns, time_ns, side="right") - 1
        # Idle rows may be missing between two others.
        return np.where((latest >= 0) & (time_ns < self.end_ns[latest]), latest, NO_ROW)

    def take(self, rows: np.ndarray) -> "Timeline":
        """Only these rows: indices, or a mask (N,)."""
        return Timeline(self.frame_index[rows], self.frame_ns[rows], self.start_ns[rows], self.end_ns[rows])


def ticks_to_ns(ticks: np.ndarray, qpc_freq: int, offset_ms: float = 0) -> np.ndarray:
    """Recorder ticks (M,) at `qpc_freq` ticks a second → nanoseconds (M,) int64, shifted by `offset_ms`.

    Raises:
        ValueError: The times lie more than a century away.
    """
    offset_ns = round(offset_ms * NS_PER_MS)
    # Python integers: the product of a tick and 10^9 does not fit 64 bits.
    extremes = [int(ticks.min()), int(ticks.max())] if len(ticks) else []
    furthest_ns = max((tick * NS_PER_S // qpc_freq + offset_ns for tick in extremes), key=abs, default=0)
    if abs(furthest_ns) >= LIMIT_NS:
        raise ValueError(
            f"ticks at qpc_freq {qpc_freq} with offset_ms {offset_ms} reach {furthest_ns // NS_PER_S} s, "
            "more than a century; correct qpc_freq or offset_ms, or re-export the recording"
        )
    if qpc_freq > _MAX_FREQ or abs(offset_ns) >= 2**63:
        times_ns = (tick * NS_PER_S // qpc_freq + offset_ns for tick in ticks.tolist())
        return np.fromiter(times_ns, dtype=np.int64, count=len(ticks))
    whole_s, rest = np.divmod(ticks, qpc_freq)
    # What overflows on the way comes back: the sum fits, and 64 bits wrap around.
    return whole_s * NS_PER_S + rest * NS_PER_S // qpc_freq + offset_ns


def kept_frames(frame_ticks: np.ndarray, keep_duplicates: bool = False) -> np.ndarray:
    """Indices (K,) of the frames to keep: the first of each run of equal ticks (F,), or all."""
    first = np.append(True, frame_ticks[1:] != frame_ticks[:-1])  # (F,)
    return np.flatnonzero(first | keep_duplicates)


def frames_timeline(frame_index: np.ndarray, frame_ns: np.ndarray, source_fps: float) -> Timeline:
    """One row for each kept frame (K,), until the next one; the last row lasts one nominal frame period."""
    end_ns = np.append(frame_ns[1:], frame_ns[-1] + int(NS_PER_S // source_fps))  # (K,)
    return Timeline(frame_index, frame_ns, frame_ns, end_ns)


def without_gaps(timeline: Timeline, source_fps: float) -> Timeline:
    """Where no frame came for more than `GAP_NS`, rows own no time but the nominal period of the last frame before.

    What happened meanwhile, nobody saw.
    """
    seen_until_ns = timeline.frame_ns + int(NS_PER_S // source_fps)  # (N,)
    # Rows of frames own all the time to the next one, rows of a grid repeat the last picture.
    is_gap = np.maximum(timeline.end_ns - timeline.start_ns, timeline.start_ns - timeline.frame_ns) > GAP_NS
    end_ns = np.where(is_gap, np.minimum(timeline.end_ns, seen_until_ns), timeline.end_ns)
    rows = end_ns > timeline.start_ns
    return replace(timeline, end_ns=end_ns).take(rows | (timeline.end_ns == timeline.start_ns))


def resampled_timeline(frame_index: np.ndarray, frame_ns: np.ndarray, fps: int, source_fps: float) -> Timeline:
    """Rows on the grid t_0 + k/fps, each with the latest kept frame (K,) at or before it.

    A frame that comes late by less than `SLACK` of its nominal period counts as in time: recorders round the ticks of
    a steady rate, and the grid would miss every frame that was rounded up. For the same reason the grid ends when no
    more than the slack is left of the last frame's nominal period.

    Raises:
        ValueError: The frames lie so far apart that a clock must have jumped.
    """
    # As few digits as rates are written with; the rest is rounding.
    rate = max(Fraction(source_fps).limit_denominator(_MAX_RATE_DENOMINATOR), Fraction(1, _MAX_RATE_DENOMINATOR))
    slack_ns = NS_PER_S * SLACK / rate
    rest_ns = int(frame_ns[-1] - frame_ns[0]) + NS_PER_S / rate - slack_ns
    n_rows = math.ceil(rest_ns * fps / NS_PER_S)
    if n_rows > MAX_ROWS_PER_FRAME * len(frame_ns):
        raise ValueError(
            f"{len(frame_ns)} frames span {int(rest_ns) // NS_PER_S} s, so a grid of {fps} rows a second needs "
            f"{n_rows}; re-export the recording, or keep its own frames (no --fps, no --resample)"
        )
    # Multiplied before divided, so that rounding does not add up along the grid.
    grid_ns, rest = np.divmod(np.arange(n_rows + 1, dtype=np.int64) * NS_PER_S, fps)  # (N + 1,)
    grid_ns += frame_ns[0]
    # The last moment in time for each row, rounded once: of (rest / fps + slack).
    numerator, denominator = (slack_ns * fps).as_integer_ratio()
    latest_ns = grid_ns + (rest * denominator + numerator) // (fps * denominator)
    latest = np.searchsorted(frame_ns, latest_ns[:-1], side="right") - 1  # (N,)
    return Timeline(frame_index[latest], frame_ns[latest], grid_ns[:-1], grid_ns[1:])
