"""OWAMcap (`ocap` of open-world-agents, the D2E collection), versions 0.3 to 0.5: `NAME.mcap` beside a video.

Mouse positions are pixels of the desktop; the video shows one window, or all of it. Times are nanoseconds since
1970. The PTS of a frame is not when it was captured; the `screen` message that names the PTS says that.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, ValidationError

from recordings_to_lerobot.importers.held_states import Change, HeldState, missing_changes
from recordings_to_lerobot.importers.neutral import (
    BUTTON_BIT_OF_VK,
    BUTTON_BITS,
    LIMIT_NS,
    WHEEL_UNITS_PER_NOTCH,
    InputEvent,
)
from recordings_to_lerobot.recordings.validation import RecordingError, explain

# Windows draws borders around a window that its rectangle includes and its picture does not: up to so many pixels.
_MAX_BORDER_PX = 32
_MAX_TITLE_PX = 64

# Of RAWMOUSE: the movement is a position.
_MOVE_ABSOLUTE = 1
_RAW_BUTTONS = {1: (1, True), 2: (1, False), 4: (2, True), 8: (2, False), 16: (4, True), 32: (4, False)} | {
    64: (8, True),
    128: (8, False),
    256: (16, True),
    512: (16, False),
}
_RAW_WHEEL = 0x400
_RAW_WHEEL_SIDEWAYS = 0x800

_STATE_BITS = frozenset({1, 2, 4})

Nanoseconds = Annotated[int, Field(gt=-LIMIT_NS, lt=LIMIT_NS)]
Pixel = Annotated[int, Field(ge=-(2**31), lt=2**31)]
KeyCode = Annotated[int, Field(ge=0, le=255)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class Screen(_Message):
    """A frame of the video; field names of 0.3 and 0.4 beside those of 0.5."""

    utc_ns: Nanoseconds
    uri: str = Field(validation_alias=AliasChoices(AliasPath("media_ref", "uri"), "path"))
    pts_ns: Nanoseconds = Field(validation_alias=AliasChoices(AliasPath("media_ref", "pts_ns"), "pts"))
    source_shape: tuple[Pixel, Pixel] | None = Field(
        default=None, validation_alias=AliasChoices("source_shape", "original_shape")
    )


class Window(_Message):
    """The window that has the focus."""

    rect: tuple[Pixel, Pixel, Pixel, Pixel]  # left, top, right, bottom


class Key(_Message):
    event_type: Literal["press", "release"]
    vk: KeyCode


class Mouse(_Message):
    event_type: Literal["move", "click", "scroll"]
    x: Pixel
    y: Pixel
    button: str | None = None
    pressed: bool | None = None
    dx: Pixel | None = None
    dy: Pixel | None = None


class RawMouse(_Message):
    last_x: Pixel
    last_y: Pixel
    us_flags: int = 0
    button_flags: int = 0
    button_data: int = 0


class KeyboardState(_Message):
    buttons: frozenset[KeyCode] = Field(validation_alias=AliasChoices("buttons", "pressed_keys"))


class MouseState(_Message):
    x: Pixel
    y: Pixel
    buttons: frozenset[str]


_MODELS: dict[str, type[_Message]] = {
    "screen": Screen,
    "window": Window,
    "keyboard": Key,
    "mouse": Mouse,
    "mouse/raw": RawMouse,
    "keyboard/state": KeyboardState,
    "mouse/state": MouseState,
}


class Logged(NamedTuple):
    """A message of the log."""

    number: int  # among all, in order of time, from 1
    ns: int
    topic: str
    message: Any  # of the topic's model; its text for a topic without one


@dataclass
class ScreenLog:
    """What the log says about the video; M frames."""

    uris: set[str] = field(default_factory=set)
    pts_ns: array = field(default_factory=lambda: array("q"))  # (M,)
    utc_ns: array = field(default_factory=lambda: array("q"))  # (M,)
    source_px: tuple[int, int] | None = None  # of what was captured, before it was scaled
    window_ns: list[int] = field(default_factory=list)
    window_rects: list[tuple[int, int, int, int]] = field(default_factory=list)


def read_messages(path: Path, topics: Iterable[str] | None = None) -> Iterator[Logged]:
    """Yields the messages of a log in order of time, of all topics or some.

    Raises:
        RecordingError: It is no MCAP file, is cut off, or a message lacks a field.
    """
    try:
        from mcap.reader import make_reader
    except ImportError:
        raise RecordingError(
            f"{path}: reading OWAMcap needs the package mcap; pass --format=native, or install mcap"
        ) from None
    wanted = None if topics is None else set(topics)
    number = 0
    with path.open("rb") as file:
        try:
            for _, channel, message in make_reader(file, validate_crcs=True).iter_messages():
                number += 1
                if wanted is not None and channel.topic not in wanted:
                    continue
                model = _MODELS.get(channel.topic)
                if message.log_time >= LIMIT_NS:
                    raise ValueError(f"message {number} is of {message.log_time} ns, more than a century from now")
                data = message.data
                content = model.model_validate_json(data) if model else data.decode("utf-8", "replace")
                yield Logged(number, message.log_time, channel.topic, content)
        except ValidationError as error:
            raise RecordingError(
                f"{path}: message {number} ({channel.topic}): {explain(error)}; re-export the recording"
            ) from None
        # Whatever its parser and its decompressors come across in damaged bytes; each raises errors of its own.
        except Exception as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            raise RecordingError(
                f"{path}: damaged or cut off ({problem}); re-export the recording, or repair it with `mcap recover`"
            ) from None


def read_screens(messages: Iterable[Logged]) -> ScreenLog:
    """Gathers what the messages say about the video and the window it shows."""
    log = ScreenLog()
    for _, ns, _, message in messages:
        if isinstance(message, Screen):
            log.uris.add(message.uri)
            log.pts_ns.append(message.pts_ns)
            log.utc_ns.append(message.utc_ns)
            log.source_px = log.source_px or message.source_shape
        elif isinstance(message, Window) and (not log.window_rects or log.window_rects[-1] != message.rect):
            log.window_ns.append(ns)
            log.window_rects.append(message.rect)
    return log


def video_of(path: Path, uris: Iterable[str]) -> Path:
    """The video that belongs to a log: the one its messages name, by name only, for folders may have been moved.

    Raises:
        RecordingError: They name none, or several.
    """
    names = {PureWindowsPath(uri).name for uri in uris if not uri.startswith("data:")} - {""}
    if len(names) != 1:
        found = ", ".join(sorted(names)) or "none"
        raise RecordingError(
            f"{path}: its screen messages must name one video, found {found}; re-export it as one recording a video"
        )
    named = path.with_name(names.pop())
    beside = [named, *(path.with_suffix(suffix) for suffix in (".mkv", ".mp4"))]
    return next((video for video in beside if video.is_file()), named)


@dataclass(frozen=True)
class DesktopToVideo:
    """Where on the video a point of the desktop is shown, by time."""

    ns: np.ndarray  # (W,) int64, from when on each of the origins holds; the first holds before as well
    origin_px: np.ndarray  # (W, 2) int64, the point of the desktop at the video's upper left corner
    scale: tuple[float, float]  # pixels of the video for one of the desktop

    def __call__(self, ns: int, x: int, y: int) -> tuple[float, float]:
        """Position on the video of (x, y) at a time."""
        left, top = self.origin_px[max(0, int(np.searchsorted(self.ns, ns, side="right")) - 1)].tolist()
        return (x - left) * self.scale[0], (y - top) * self.scale[1]


def locate_window(log: ScreenLog, video_px: tuple[int, int]) -> DesktopToVideo:
    """Finds the window that the video shows among those that had the focus: the one of the size of the pictures.

    A window's rectangle has invisible borders, of the same width left, right and below. If no window fits, the
    video shows the desktop.
    """
    source_px = log.source_px or video_px
    # An encoder may need even sizes and add a line; that is no scaling.
    scale = tuple(
        1.0 if abs(video - source) <= 1 else video / source for video, source in zip(video_px, source_px, strict=True)
    )
    times, origins = [], []
    for ns, (left, top, right, bottom) in zip(log.window_ns, log.window_rects, strict=True):
        extra_x, extra_y = right - left - source_px[0], bottom - top - source_px[1]
        if 0 <= extra_x <= _MAX_BORDER_PX and 0 <= extra_y <= _MAX_TITLE_PX:
            times.append(ns)
            origins.append((left + extra_x // 2, top + max(0, extra_y - extra_x // 2)))
    if not origins:
        times, origins = [0], [(0, 0)]
    return DesktopToVideo(np.array(times, dtype=np.int64), np.array(origins, dtype=np.int64), scale)


class InputReader:
    """Turns messages into events; `repairs` counts what the held states have added, once all are read."""

    def __init__(self, to_video: DesktopToVideo):
        self._to_video = to_video
        self._keys: list[Change] = []
        self._buttons: list[Change] = []
        self._key_states: list[HeldState] = []
        self._button_states: list[HeldState] = []
        self._held_bits = 0
        self.repairs: Counter[str] = Counter()

    def events(self, messages: Iterable[Logged], has_mouse: bool) -> Iterator[InputEvent]:
        """Yields the events of a log, and behind them, out of order, those that were missing.

        With `has_mouse`, buttons and wheel come from `mouse`; `mouse/raw`, which repeats them, adds movements only.
        """
        last_position_ns = None
        for number, ns, topic, message in messages:
            match message:
                case Key():
                    is_down = message.event_type == "press"
                    self._keys.append(Change(ns, message.vk, is_down, number))
                    yield InputEvent(ns, "keydown" if is_down else "keyup", number, vk=message.vk)
                case Mouse():
                    last_position_ns = ns
                    yield from self._mouse_events(ns, number, message)
                case RawMouse():
                    yield from self._raw_events(ns, number, message, not has_mouse)
                case KeyboardState():
                    # The states of buttons are among those of the keys.
                    codes = message.buttons - BUTTON_BIT_OF_VK.keys()
                    self._key_states.append(HeldState(ns, codes, number))
                case MouseState():
                    bits = frozenset(BUTTON_BITS[name] for name in message.buttons if name in BUTTON_BITS)
                    self._button_states.append(HeldState(ns, bits & _STATE_BITS, number))
                    # Where the cursor rests is known from this alone until it first moves.
                    if last_position_ns is None and has_mouse:
                        last_position_ns = ns
                        x, y = self._to_video(ns, message.x, message.y)
                        yield InputEvent(ns, "mousemove", number, x=x, y=y)
                case Screen() | Window():
                    pass
                case _:
                    yield InputEvent(ns, topic, number, raw=message)
        for change in missing_changes(self._keys, self._key_states):
            self.repairs["key_changes_from_state"] += 1
            yield InputEvent(change.ns, "keydown" if change.is_down else "keyup", change.line, vk=change.code)
        # The states know these buttons only.
        in_states = [change for change in self._buttons if change.code in _STATE_BITS]
        for change in missing_changes(in_states, self._button_states):
            self.repairs["button_changes_from_state"] += 1
            kind = "buttondown" if change.is_down else "buttonup"
            yield InputEvent(change.ns, kind, change.line, button=change.code)

    def _mouse_events(self, ns: int, number: int, message: Mouse) -> Iterator[InputEvent]:
        x, y = self._to_video(ns, message.x, message.y)
        yield InputEvent(ns, "mousemove", number, x=x, y=y)
        if message.event_type == "click" and message.button in BUTTON_BITS:
            yield self._press(ns, number, BUTTON_BITS[message.button], bool(message.pressed))
        elif message.event_type == "click":
            yield InputEvent(ns, f"mouse click {message.button}", number)
        elif message.event_type == "scroll":
            yield InputEvent(ns, "wheel", number, dx=message.dx or 0, dy=message.dy or 0)

    def _raw_events(self, ns: int, number: int, message: RawMouse, with_buttons: bool) -> Iterator[InputEvent]:
        if message.us_flags & _MOVE_ABSOLUTE:
            yield InputEvent(ns, "mouse/raw absolute", number, raw=message.model_dump_json())
        elif message.last_x or message.last_y:
            yield InputEvent(ns, "mousedelta", number, dx=message.last_x, dy=message.last_y)
        if not with_buttons:
            return
        for flag, (bit, is_down) in _RAW_BUTTONS.items():
            if message.button_flags & flag:
                yield self._press(ns, number, bit, is_down)
        # A signed number of 16 bits that Windows hands over as an unsigned one.
        notches = ((message.button_data + 0x8000) % 0x10000 - 0x8000) / WHEEL_UNITS_PER_NOTCH
        if message.button_flags & _RAW_WHEEL:
            yield InputEvent(ns, "wheel", number, dx=0, dy=notches)
        elif message.button_flags & _RAW_WHEEL_SIDEWAYS:
            yield InputEvent(ns, "wheel", number, dx=notches, dy=0)

    def _press(self, ns: int, number: int, bit: int, is_down: bool) -> InputEvent:
        self._buttons.append(Change(ns, bit, is_down, number))
        return InputEvent(ns, "buttondown" if is_down else "buttonup", number, button=bit)
