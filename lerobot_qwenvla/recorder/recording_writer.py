"""Writes one episode as raw recording: `video.mp4`, `frame_ts.bin`, `events.jsonl`, `meta.json`."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
from filelock import FileLock

from lerobot_qwenvla.devices.input_device import InputEvent
from recordings_to_lerobot.recordings.find import EVENTS_FILE, FRAME_TICKS_FILE, META_FILE, VIDEO_FILE

# Visually lossless and fast; screen recorders write a key frame every few seconds. No picture waits for later ones.
ENCODER_OPTIONS = {"crf": "18", "preset": "veryfast", "tune": "zerolatency"}
KEY_FRAME_EVERY_S = 2
# Each picture can be read as soon as it is written.
CONTAINER_OPTIONS = {"movflags": "frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"}
LOCK_FILE = "writing.lock"


class RecordingWriter:
    """Context manager that builds an episode beside its final place and moves it there when it is finished.

    Left without `finish`, by an error or on purpose, it leaves nothing behind. Killed, it leaves a draft of which
    `unfinished` makes an episode if `meta` was known from the start.
    """

    def __init__(self, folder: Path, canvas_px: tuple[int, int], fps: float, meta: dict[str, Any] | None = None):
        """Prepare the episode `folder` for frames of a size (width, height)."""
        self._folder = folder
        self._canvas_px = canvas_px
        self._fps = fps
        self._meta = meta
        self._last_tick: int | None = None
        self.n_frames = 0

    def __enter__(self) -> Self:
        """Open the files.

        Raises:
            ValueError: The episode folder exists already.
        """
        if self._folder.exists():
            raise ValueError(f"{self._folder} exists already, and recordings are never overwritten.")
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._draft = Path(tempfile.mkdtemp(prefix=f".{self._folder.name}.", dir=self._folder.parent))
        self._lock = FileLock(self._draft / LOCK_FILE)
        self._lock.acquire()
        self._video = av.open(self._draft / VIDEO_FILE, "w", options=CONTAINER_OPTIONS)
        self._stream = self._open_stream()
        self._ticks = (self._draft / FRAME_TICKS_FILE).open("wb", buffering=0)
        self._events = (self._draft / EVENTS_FILE).open("w", encoding="utf-8", newline="\n")
        if self._meta is not None:
            self._write_meta(self._meta)
        return self

    def add_frame(self, screen: np.ndarray, tick: int) -> None:
        """Append a frame (canvas_h, canvas_w, 3) uint8 that was captured at `tick`, after the events before it."""
        assert self._last_tick is None or tick >= self._last_tick, "capture times never go back"
        frame = av.VideoFrame.from_ndarray(screen, format="rgb24")
        frame.pts = self.n_frames
        # A picture without a tick could not be used; a tick without a picture can be left out.
        self._events.flush()
        self._ticks.write(np.array([tick], dtype="<i8").tobytes())
        self._video.mux(self._stream.encode(frame))
        self._last_tick = tick
        self.n_frames += 1

    def add_event(self, event: InputEvent) -> None:
        """Append an input event."""
        self._events.write(json.dumps(event.as_json()) + "\n")

    def finish(self, meta: dict[str, Any]) -> None:
        """Write what is left, `meta` last, and move the episode to its place."""
        self._video.mux(self._stream.encode(None))
        self._close_files()
        self._write_meta(meta)
        publish(self._draft, self._folder)

    def __exit__(self, *error: object) -> None:
        """Remove the draft unless it was finished."""
        self._close_files()
        shutil.rmtree(self._draft, ignore_errors=True)

    def _open_stream(self) -> av.VideoStream:
        width_px, height_px = self._canvas_px
        stream = self._video.add_stream("libx264", rate=round(self._fps), options=ENCODER_OPTIONS)
        stream.width, stream.height = width_px, height_px
        # Halved colour planes need even sizes; whole ones keep an odd canvas as it is.
        stream.pix_fmt = "yuv444p" if width_px % 2 or height_px % 2 else "yuv420p"
        stream.gop_size = round(KEY_FRAME_EVERY_S * self._fps)
        return stream

    def _write_meta(self, meta: dict[str, Any]) -> None:
        (self._draft / META_FILE).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")

    def _close_files(self) -> None:
        self._video.close()
        self._ticks.close()
        self._events.close()
        self._lock.release()


def publish(draft: Path, folder: Path) -> None:
    """Move a finished draft to its place."""
    (draft / LOCK_FILE).unlink(missing_ok=True)
    # Temporary folders are private to their owner; recordings are as open as any other new folder.
    draft.chmod(folder.parent.stat().st_mode & 0o777)
    draft.rename(folder)
