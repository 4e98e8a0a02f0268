"""`qwenvla-record --window=…`: records any window of the desktop."""

import contextlib
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from lerobot_qwenvla.devices.desktop.region import ScreenRegion
from lerobot_qwenvla.devices.desktop.support import require_desktop
from lerobot_qwenvla.recorder.unfinished import finish_unfinished
from lerobot_qwenvla.recorder.window_session import WindowSession

EPISODE_NAME = re.compile(r"episode_(\d+)")


@dataclass
class WindowRecordConfig:
    """Records a window or a part of the screen, with mouse and keys, while a person plays."""

    # Folder for the episodes; it is made if it does not exist.
    output: Path
    # What the player does, in words: the instruction of the episodes.
    task: str
    # Part of the window's title (X11 only).
    window: str | None = None
    # In its place left, top, width and height on the screen, in pixels.
    region: list[int] | None = None
    # Frames a second.
    fps: float = 10
    # How many episodes to record; Ctrl-C ends the session whenever you like.
    episodes: int = 1000
    # Ends an episode after so many seconds.
    episode_s: float | None = None
    # Ends an episode after so many seconds without any input; the next input begins another.
    idle_s: float | None = None
    # Key that ends an episode, and begins one.
    hotkey: str = "F9"
    # Seconds to count down before each episode that the hotkey begins.
    countdown_s: int = 3


def record_window(config: WindowRecordConfig) -> str:
    """Record until the last episode or Ctrl-C, and say what was done.

    Raises:
        ValueError: A number is out of range, there is no such window, or not one alone, or it is gone.
        NoDesktopError: There is no desktop, or it lets no program watch.
    """
    if config.episodes < 1 or config.fps <= 0 or config.countdown_s < 0:
        raise ValueError("--episodes must be at least 1, --fps above 0, and --countdown_s not negative.")
    require_desktop()
    for folder in finish_unfinished(config.output):
        print(f"Finished {folder}, over which the recorder was killed.")
    with contextlib.closing(ScreenRegion(config.window, config.region)) as region:
        session = WindowSession(region, config.fps, config.hotkey, config.idle_s)
        with session.listener, _end_by_signal(session):
            frames = list(_record_episodes(config, session))
    return (
        f"Recorded {len(frames)} episodes, {sum(frames) / config.fps / 60:.1f} minutes, in {config.output}; "
        f"{session.n_dropped} frames were dropped."
    )


@contextlib.contextmanager
def _end_by_signal(session: WindowSession) -> Iterator[None]:
    """Ctrl-C and a polite kill end the episode where it is, whole."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: session.ended.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _record_episodes(config: WindowRecordConfig, session: WindowSession) -> Iterator[int]:
    """Number of frames of each episode."""
    about = {"task": config.task, "session": f"{time.time():.0f}", "player": "human", "window": config.window}
    for n_recorded, folder in enumerate(islice(_free_folders(config.output), config.episodes)):
        if n_recorded:
            print(f"Paused: {config.hotkey} begins the next episode, Ctrl-C ends the session.", file=sys.stderr)
            session.wait_for_person()
        if not session.was_idle:
            session.count_down(config.countdown_s)
        if session.ended.is_set():
            return
        yield session.record_stretch(folder, about, config.episode_s)


def _free_folders(output: Path) -> Iterator[Path]:
    taken = [int(match[1]) for path in output.glob("*") if (match := EPISODE_NAME.fullmatch(path.name))]
    return (output / f"episode_{number:06d}" for number in count(max(taken, default=-1) + 1))
