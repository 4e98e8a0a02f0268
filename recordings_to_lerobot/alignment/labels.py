"""From one recording to the rows of its episode: which frames, when, with which labels."""

from dataclasses import dataclass, replace

import numpy as np

from recordings_to_lerobot.actions.vocabulary import KEY_CODES, KeyCodes
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.alignment.state_and_action import encode_actions
from recordings_to_lerobot.alignment.timeline import (
    Timeline,
    frames_timeline,
    kept_frames,
    resampled_timeline,
    ticks_to_ns,
    without_gaps,
)
from recordings_to_lerobot.recordings.find import EVENTS_FILE, FRAME_TICKS_FILE, META_FILE, file_of
from recordings_to_lerobot.recordings.recording import Recording
from recordings_to_lerobot.recordings.validation import RecordingError


@dataclass(frozen=True)
class Labels:
    """The N rows of an episode, C channels each."""

    timeline: Timeline
    state: np.ndarray  # (N, C) float32
    action: np.ndarray  # (N, C) float32
    channels: tuple[str, ...]
    event_ns: np.ndarray  # (E,) int64, times of the recording's events on the clock of its frames
    fps: int  # rows a second

    def take(self, rows: np.ndarray) -> "Labels":
        """Only these rows: indices, or a mask (N,)."""
        return replace(self, timeline=self.timeline.take(rows), state=self.state[rows], action=self.action[rows])


def rows_a_second(source_fps: float, options: LabelOptions) -> int:
    """The rate of the rows, which LeRobot wants whole.

    Raises:
        ValueError: It is not, and no other was asked for.
    """
    if options.fps is None and source_fps != int(source_fps):
        raise ValueError(
            f"`fps` is {source_fps}, but LeRobot knows whole rows per second only; "
            f"pass --fps={max(1, round(source_fps))} (true times are kept either way)"
        )
    return options.fps or int(source_fps)


def make_timeline(frame_ticks: np.ndarray, qpc_freq: int, source_fps: float, options: LabelOptions) -> Timeline:
    """The rows of frames captured at these ticks (F,), nominally `source_fps` a second.

    Raises:
        ValueError: The times make no sense.
    """
    frame_index = kept_frames(frame_ticks, options.keep_duplicates)
    frame_ns = ticks_to_ns(frame_ticks[frame_index], qpc_freq)
    if options.fps or options.resample:
        timeline = resampled_timeline(frame_index, frame_ns, rows_a_second(source_fps, options), source_fps)
    else:
        timeline = frames_timeline(frame_index, frame_ns, source_fps)
    return without_gaps(timeline, source_fps) if "gaps" in options.repair else timeline


def label_recording(recording: Recording, options: LabelOptions, key_codes: KeyCodes = KEY_CODES) -> Labels:
    """Rows and labels of one episode; those of a captured mouse in counts, which `relative.scaled` takes.

    Raises:
        RecordingError: Its times make no sense, or its rate is none that LeRobot knows.
    """
    meta = recording.meta
    size_px = (meta.canvas_w, meta.canvas_h)
    offset_ms = meta.offset_ms if options.offset_ms is None else options.offset_ms
    file = META_FILE
    try:
        fps = rows_a_second(meta.fps, options)
        file = FRAME_TICKS_FILE
        timeline = make_timeline(recording.frame_ticks, meta.qpc_freq, meta.fps, options)
        file = EVENTS_FILE
        event_ns = ticks_to_ns(recording.events.tick, meta.qpc_freq, offset_ms)
    except ValueError as error:
        raise RecordingError(f"{file_of(recording.folder, file)}: {error}") from None
    space = options.action_space(key_codes)
    state, action = encode_actions(recording.events, event_ns, timeline, size_px, space, "keys" in options.repair)
    return Labels(timeline, state, action, space.channels, event_ns, fps)
