"""Records a window of the desktop in real time: screen, mouse and keys on one clock."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lerobot_qwenvla.devices.clock import QPC_FREQ, now
from lerobot_qwenvla.devices.desktop.listener import DesktopListener
from lerobot_qwenvla.devices.desktop.region import ScreenRegion
from lerobot_qwenvla.recorder.recording_writer import RecordingWriter

# How soon the hotkey is answered while nothing is recorded.
POLL_S = 0.02


class WindowSession:
    """Stretches of recording, each an episode, between which nothing is recorded.

    Attributes:
        listener: What the person does; to be entered before the first stretch.
        n_dropped: Frames of the nominal rate for which there was no time, over all episodes.
        was_idle: Whether the last stretch ended because there was no input, and input shall begin the next one.
        ended: Set, from any thread or signal handler, to end the stretch and the session.
    """

    def __init__(self, region: ScreenRegion, fps: float, hotkey: str, idle_s: float | None):
        """A session over a region of the screen.

        Args:
            region: What to record; it is recorded at the size that it has now.
            fps: Nominal frames a second.
            hotkey: Name of the key that ends a stretch and begins one.
            idle_s: After so long without input a stretch ends by itself, and the next input begins one.
        """
        self._region, self._fps, self._idle_s = region, fps, idle_s
        self.canvas_px = region.box.size_px
        self._hotkey_pressed, self._input_seen = threading.Event(), threading.Event()
        self._last_input_s = time.monotonic()
        self.listener = DesktopListener(
            lambda: region.box,
            self.canvas_px,
            hotkeys={hotkey.upper(): self._hotkey_pressed.set},
            on_input=self._notice_input,
        )
        self.n_dropped = 0
        self.ended = threading.Event()
        self.was_idle = False

    def wait_for_person(self) -> None:
        """Wait for the hotkey, or for any input if the last stretch ended because there was none."""
        self._input_seen.clear()
        while not (self.ended.is_set() or self._hotkey_pressed.is_set()):
            if self.was_idle and self._input_seen.is_set():
                return
            self.listener.take_before(now())  # nobody will ask for it
            time.sleep(POLL_S)
        self.was_idle = False

    def count_down(self, seconds: int) -> None:
        """Tell, second by second, when it begins."""
        for left in range(seconds, 0, -1):
            print(f"Recording in {left} …", file=sys.stderr)
            self.ended.wait(1)

    def record_stretch(self, folder: Path, meta: dict[str, Any], longest_s: float | None) -> int:
        """Record an episode until the hotkey, the idle time or the longest time ends it, or the session ends.

        Returns:
            Number of frames.

        Raises:
            ValueError: The folder exists already, or the window is gone; what was recorded until then is kept.
        """
        width_px, height_px = self.canvas_px
        meta = {"fps": self._fps, "canvas_w": width_px, "canvas_h": height_px, "qpc_freq": QPC_FREQ, **meta}
        dropped_before = self.n_dropped
        self._hotkey_pressed.clear()
        self._last_input_s = time.monotonic()
        with RecordingWriter(folder, self.canvas_px, self._fps, meta) as writer:
            try:
                self._capture(writer, longest_s)
            finally:
                if writer.n_frames:
                    self._write_events_before(writer, now())
                    writer.finish({**meta, "dropped_frames": self.n_dropped - dropped_before})
        self._hotkey_pressed.clear()
        return writer.n_frames

    def _capture(self, writer: RecordingWriter, longest_s: float | None) -> None:
        self.listener.restart(now() - 1)
        period_s = 1 / self._fps
        began_s = due_s = time.monotonic()
        with tqdm(desc="Recording", unit="frame", bar_format="{desc}: {n} frames, {rate_fmt}{postfix}") as progress:
            while not self._is_over(began_s, longest_s):
                screen = self._region.grab(self.canvas_px)
                # Stamped once it is there: no picture shows what its action has yet to do.
                tick = now()
                self._write_events_before(writer, tick)
                writer.add_frame(screen, tick)
                progress.update()
                due_s += period_s
                n_missed = max(0, int((time.monotonic() - due_s) * self._fps))
                self.n_dropped += n_missed
                due_s += n_missed * period_s
                progress.set_postfix_str(f"dropped {self.n_dropped}", refresh=False)
                self._hotkey_pressed.wait(max(0.0, due_s - time.monotonic()))

    def _is_over(self, began_s: float, longest_s: float | None) -> bool:
        at_s = time.monotonic()
        self.was_idle = self._idle_s is not None and at_s - self._last_input_s >= self._idle_s
        is_too_long = longest_s is not None and at_s - began_s >= longest_s
        return self.ended.is_set() or self._hotkey_pressed.is_set() or self.was_idle or is_too_long

    def _write_events_before(self, writer: RecordingWriter, tick: int) -> None:
        for event in self.listener.take_before(tick):
            writer.add_event(event)

    def _notice_input(self) -> None:
        self._last_input_s = time.monotonic()
        self._input_seen.set()
