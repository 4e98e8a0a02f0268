"""From one recording to the rows of its episode: which frames, when, with which labels."""

from recordings_to_lerobot.action_encoding import EncodedEpisode, encode_actions
from recordings_to_lerobot.options import ConvertConfig
from recordings_to_lerobot.recording import EVENTS_FILE, FRAME_TICKS_FILE, Recording
from recordings_to_lerobot.timeline import (
    Timeline,
    frames_timeline,
    kept_frames,
    resampled_timeline,
    ticks_to_ns,
)
from recordings_to_lerobot.validation import RecordingError


def label_recording(recording: Recording, config: ConvertConfig) -> tuple[Timeline, EncodedEpisode]:
    """Rows and labels of one episode.

    Raises:
        RecordingError: Its times make no sense.
    """
    meta = recording.meta
    size_px = (meta.canvas_w, meta.canvas_h)
    make_timeline = resampled_timeline if config.resample else frames_timeline
    file = FRAME_TICKS_FILE
    try:
        frame_index = kept_frames(recording.frame_ticks, config.keep_duplicates)
        frame_ns = ticks_to_ns(recording.frame_ticks[frame_index], meta.qpc_freq)
        timeline = make_timeline(frame_index, frame_ns, int(meta.fps))
        file = EVENTS_FILE
        event_ns = ticks_to_ns(recording.events.tick, meta.qpc_freq, meta.offset_ms)
    except ValueError as error:
        raise RecordingError(f"{recording.folder / file}: {error}") from None
    return timeline, encode_actions(recording.events, event_ns, timeline, size_px, config.mouse)
