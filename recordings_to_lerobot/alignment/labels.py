"""From one recording to the rows of its episode: which frames, when, with which labels."""

from dataclasses import dataclass, replace

import numpy as np

from recordings_to_lerobot.actions.channels import channel_names
from recordings_to_lerobot.actions.vocabulary import KEY_CODES, KeyCodes
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.alignment.state_and_action import encode_actions
from recordings_to_lerobot.alignment.timeline import (
    Timeline,
    frames_timeline,
    kept_frames,
    resampled_timeline,
    ticks_to_ns,
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

    def take(self, rows: np.ndarray) -> "Labels":
        """Only these rows: indices, or a mask (N,)."""
        return replace(self, timeline=self.timeline.take(rows), state=self.state[rows], action=self.action[rows])


def label_recording(recording: Recording, options: LabelOptions, key_codes: KeyCodes = KEY_CODES) -> Labels:
    """Rows and labels of one episode.

    Raises:
        RecordingError: Its times make no sense, or its rate is none that LeRobot knows.
    """
    meta = recording.meta
    if meta.fps != int(meta.fps):
        path = file_of(recording.folder, META_FILE)
        raise RecordingError(
            f"{path}: `fps` is {meta.fps}, but LeRobot knows whole frames per second only; "
            f"set it to {max(1, round(meta.fps))} (true times are kept either way)"
        )
    size_px = (meta.canvas_w, meta.canvas_h)
    make_timeline = resampled_timeline if options.resample else frames_timeline
    offset_ms = meta.offset_ms if options.offset_ms is None else options.offset_ms
    file = FRAME_TICKS_FILE
    try:
        frame_index = kept_frames(recording.frame_ticks, options.keep_duplicates)
        frame_ns = ticks_to_ns(recording.frame_ticks[frame_index], meta.qpc_freq)
        timeline = make_timeline(frame_index, frame_ns, int(meta.fps))
        file = EVENTS_FILE
        event_ns = ticks_to_ns(recording.events.tick, meta.qpc_freq, offset_ms)
    except ValueError as error:
        raise RecordingError(f"{file_of(recording.folder, file)}: {error}") from None
    state, action = encode_actions(recording.events, event_ns, timeline, size_px, options.mouse, key_codes)
    return Labels(timeline, state, action, channel_names(options.mouse, key_codes), event_ns)
