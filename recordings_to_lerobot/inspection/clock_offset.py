"""Estimates by how much the clock of the events is off from that of the pictures, from what both tell of the play.

The events are shifted by every plausible time, and each time what was done in the interval between two pictures is
correlated with what changed between them. Games answer to input in different ways, so several answers are looked
for at once; those a game does not give correlate with nothing and hardly count. All but one compare changes from
interval to interval: a key held for seconds changes the picture all the time and says nothing about the moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recordings_to_lerobot.alignment.timeline import NS_PER_MS, NS_PER_S
from recordings_to_lerobot.alignment.track import MousePath, pressed_within, presses
from recordings_to_lerobot.inspection.picture_motion import PictureMotion
from recordings_to_lerobot.recordings.events import Events

Confidence = Literal["high", "low", "none"]

SHIFT_STEP_MS = 10
SHIFT_MS = np.arange(-1500, 1501, SHIFT_STEP_MS)  # (S,)

# Rows of `_input_answers` and of `_picture_answers`.
_ANSWERS = 6

# An episode is cut into chunks, and how well they agree is what the confidence comes from.
_CHUNK_S = 2.0
_MIN_CHUNK_ROWS = 16
_MAX_CHUNKS = 16
_MIN_CHUNKS = 4

# Share of resampled estimates that must lie within this distance of the estimate. Of 3000 sets of 2 to 9 Miniworld
# recordings of 4 s, two thirds have high confidence, none of them wrong by more than 60 ms, and 14 % a low one, none
# wrong by more than 100 ms. With the events of other recordings, 1 % have a low one and 1 in 2000 a high one.
_AGREEMENT_MS = 60
_HIGH_AGREEMENT = 0.9
_LOW_AGREEMENT = 0.7
_RESAMPLES = 200


@dataclass(frozen=True)
class OffsetEvidence:
    """What J chunks of one episode say: a correlation for each of A answers and each of S shifts."""

    correlation: np.ndarray  # (J, A, S) float32
    weight: np.ndarray  # (J,) float64, intervals in each chunk


@dataclass(frozen=True)
class OffsetEstimate:
    """The time to add to the events that fits them best to the pictures, in [low_ms, high_ms] with 90 %."""

    offset_ms: float
    low_ms: float
    high_ms: float
    confidence: Confidence
    correlation: np.ndarray  # (S,) float64 in [0, 1], of all answers together


def gather_evidence(
    events: Events, event_ns: np.ndarray, frame_ns: np.ndarray, motion: PictureMotion, size_px: tuple[int, int]
) -> OffsetEvidence:
    """Evidence of one episode.

    Args:
        events: With positions on a canvas of `size_px` (width, height).
        event_ns: (E,) int64, their times.
        frame_ns: (K,) int64, strictly increasing times of the pictures.
        motion: Between the K pictures.
    """
    duration_s = (frame_ns[-1] - frame_ns[0]) / NS_PER_S
    n_chunks = int(min(duration_s / _CHUNK_S, (len(frame_ns) - 2) / _MIN_CHUNK_ROWS, _MAX_CHUNKS))
    if n_chunks == 0:
        return OffsetEvidence(np.zeros((0, _ANSWERS, len(SHIFT_MS)), dtype=np.float32), np.zeros(0))
    pictures = _picture_answers(motion)  # (A, K - 2)
    edges = np.linspace(0, pictures.shape[1], n_chunks + 1).astype(int)
    pictures = _standardized(pictures, edges)
    mouse = MousePath.of(events, event_ns, size_px)
    pressed = np.concatenate([np.empty((0, 2), dtype=np.int64), *presses(events, event_ns).values()])  # (P, 2)
    correlation = np.empty((n_chunks, len(pictures), len(SHIFT_MS)), dtype=np.float32)
    for column, shift_ms in enumerate(SHIFT_MS.tolist()):
        inputs = _standardized(_input_answers(mouse, pressed, frame_ns - shift_ms * NS_PER_MS), edges)
        correlation[:, :, column] = np.add.reduceat(inputs * pictures, edges[:-1], axis=1).T
    return OffsetEvidence(correlation, np.diff(edges).astype(float))


def _picture_answers(motion: PictureMotion) -> np.ndarray:
    """What of K pictures might answer to the rows of `_input_answers`.  # (A, K - 2) float64"""
    change = np.diff(motion.change)
    turn_x, turn_y = np.diff(motion.turn, axis=0).T
    return np.stack([change, change, change, motion.jerk, turn_x, turn_y])


def _input_answers(mouse: MousePath, pressed: np.ndarray, edges_ns: np.ndarray) -> np.ndarray:
    """What was done between successive edges (K,), compared with the interval before.  # (A, K - 2) float64"""
    at_edge = mouse.index_before(edges_ns)
    pointer = mouse.position[at_edge[1:]] - 0.5  # (K - 1, 2), at the end of each interval
    travel = np.diff(mouse.travelled[at_edge])
    is_pressed = pressed_within(pressed, edges_ns) > 0
    return np.stack(
        [
            np.diff(travel),  # looking around with the mouse, and pointers that are drawn
            np.diff(is_pressed.astype(float)),  # walking
            np.diff(np.abs(pointer).max(axis=1)),  # a mouse that steers like a stick
            travel[1:],  # the same, in a scene that changes anyway
            *np.diff(pointer, axis=0).T,  # the same, by direction
        ]
    )


def _standardized(series: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Series (A, T) with mean 0 and length 1, or all 0, in each of the chunks between `edges` (J + 1,)."""
    n_rows = np.diff(edges)
    mean = np.add.reduceat(series, edges[:-1], axis=1) / n_rows  # (A, J)
    centred = series - np.repeat(mean, n_rows, axis=1)
    length = np.sqrt(np.add.reduceat(centred**2, edges[:-1], axis=1))  # (A, J)
    return centred / np.repeat(np.where(length > 1e-9, length, np.inf), n_rows, axis=1)


def estimate_offset(evidence: Sequence[OffsetEvidence], seed: int = 0) -> OffsetEstimate | None:
    """The offset that episodes which share a clock have in common; None if too little happens in them."""
    correlation = np.concatenate(
        [np.empty((0, _ANSWERS, len(SHIFT_MS))), *(e.correlation for e in evidence)]
    )  # (J, A, S)
    weight = np.concatenate([np.empty(0), *(e.weight for e in evidence)])  # (J,)
    if not len(weight):
        return None
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(weight), np.full(len(weight), 1 / len(weight)), size=_RESAMPLES)
    shares = np.concatenate([[weight], draws * weight])  # (1 + R, J), what is estimated from comes first
    shares /= shares.sum(axis=1, keepdims=True)
    combined = _combined(np.tensordot(shares, correlation, axes=1))  # (1 + R, S)
    if not combined[0].any():
        return None
    peak_ms = SHIFT_MS[combined.argmax(axis=1)]
    low_ms, high_ms = np.quantile(peak_ms[1:], [0.05, 0.95])
    agreement = np.mean(np.abs(peak_ms[1:] - peak_ms[0]) <= _AGREEMENT_MS)
    confidence: Confidence = (
        "high" if agreement >= _HIGH_AGREEMENT else "low" if agreement >= _LOW_AGREEMENT else "none"
    )
    if len(weight) < _MIN_CHUNKS:
        confidence = "none"
    return OffsetEstimate(_centre_of_peak(combined[0]), float(low_ms), float(high_ms), confidence, combined[0])


def _combined(correlation: np.ndarray) -> np.ndarray:
    """Share of the answers explained by any of A inputs, as a correlation.  # (…, A, S) → (…, S)"""
    return np.sqrt(1 - np.prod(1 - correlation**2, axis=-2))


def _centre_of_peak(curve: np.ndarray) -> float:
    """Centre of mass of the part around the maximum that reaches 95 % of it, in ms."""
    peak = int(curve.argmax())
    is_low = curve < 0.95 * curve[peak]
    start = peak - int(np.argmax(np.append(is_low[peak::-1], True))) + 1
    stop = peak + int(np.argmax(np.append(is_low[peak:], True)))
    return float(np.average(SHIFT_MS[start:stop], weights=curve[start:stop]))
