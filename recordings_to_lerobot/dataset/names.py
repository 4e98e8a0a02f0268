"""What a converted dataset holds besides what LeRobot writes, and where."""

SCREEN = "observation.images.screen"
FRAME_INDEX = "recording.frame_index"
TIMESTAMP_MS = "recording.timestamp_ms"

INFO_FILE = "meta/info.json"
# One line per episode: where it comes from, with which options, and counts of what was found.
RECORDINGS_FILE = "meta/recordings.jsonl"
# One row per raw event and per frame of the source videos, a row group per episode.
EVENTS_FOLDER = "audit/events"
FRAMES_FOLDER = "audit/frames"
# Sizes and times of the files of its recordings on this machine; no upload takes what lies there.
DIGESTS_FILE = ".cache/huggingface/recordings.json"
# One line per recording that could not be converted.
QUARANTINE_FILE = "audit/quarantine.jsonl"
