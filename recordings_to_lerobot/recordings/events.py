"""`events.jsonl`: the mouse and keyboard events of one episode."""

import math
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from recordings_to_lerobot.recordings.validation import RecordingError, StrictModel, explain, require_file

# Stands for an optional or foreign integer field in the event columns; no recorded value is negative.
ABSENT = -1

Tick = Annotated[int, Field(ge=-(2**63), lt=2**63)]
ButtonBits = Annotated[int, Field(ge=0, lt=2**31)]
# More counts or notches than any mouse sends in an event; sums of them stay exact.
Motion = Annotated[float, Field(ge=-(2**31), le=2**31)]
# Of any screen, and no number that a float32 cannot hold.
Position = Annotated[float, Field(ge=-(2**31), lt=2**31)]
VirtualKeyCode = Annotated[int, Field(ge=0, le=255)]


class MouseMove(StrictModel):
    """The cursor is at a position; `buttons`, where present, are held until a later move says otherwise."""

    ts: Tick
    kind: Literal["mousemove"]
    x: Position  # pixels; a recorder with sub-pixel positions may write fractions
    y: Position
    buttons: ButtonBits | None = None


class MouseClick(StrictModel):
    """Buttons (left, unless `buttons` says otherwise) go down and up at once."""

    ts: Tick
    kind: Literal["mouseclick"]
    x: Position
    y: Position
    buttons: ButtonBits = 1


class KeyDown(StrictModel):
    """A key goes down, or repeats while held."""

    ts: Tick
    kind: Literal["keydown"]
    vk: VirtualKeyCode


class KeyUp(StrictModel):
    """A key comes up."""

    ts: Tick
    kind: Literal["keyup"]
    vk: VirtualKeyCode


class MouseDelta(StrictModel):
    """A captured mouse moves, in counts of the device: to the right, and downwards."""

    ts: Tick
    kind: Literal["mousedelta"]
    dx: Motion
    dy: Motion


class Wheel(StrictModel):
    """The wheel turns, in notches: to the right, and away from the hand."""

    ts: Tick
    kind: Literal["wheel"]
    dx: Motion
    dy: Motion


class ButtonDown(StrictModel):
    """Buttons go down; the others stay as they are."""

    ts: Tick
    kind: Literal["buttondown"]
    button: Annotated[ButtonBits, Field(ge=1)]


class ButtonUp(StrictModel):
    """Buttons come up."""

    ts: Tick
    kind: Literal["buttonup"]
    button: Annotated[ButtonBits, Field(ge=1)]


class UnknownEvent(StrictModel):
    """Anything else a recorder writes: legal, counted, kept whole, labels nothing."""

    ts: Tick
    kind: str


KNOWN_KINDS = ("mousemove", "mouseclick", "keydown", "keyup", "mousedelta", "wheel", "buttondown", "buttonup")


def _event_tag(event: Any) -> str | None:
    kind = event.get("kind") if isinstance(event, dict) else None
    if not isinstance(kind, str):
        return None
    return kind if kind in KNOWN_KINDS else "unknown"


Event = Annotated[
    Annotated[MouseMove, Tag("mousemove")]
    | Annotated[MouseClick, Tag("mouseclick")]
    | Annotated[KeyDown, Tag("keydown")]
    | Annotated[KeyUp, Tag("keyup")]
    | Annotated[MouseDelta, Tag("mousedelta")]
    | Annotated[Wheel, Tag("wheel")]
    | Annotated[ButtonDown, Tag("buttondown")]
    | Annotated[ButtonUp, Tag("buttonup")]
    | Annotated[UnknownEvent, Tag("unknown")],
    Discriminator(
        _event_tag,
        custom_error_type="kind_missing",
        custom_error_message="an event is an object with a text `kind`",
    ),
]
_EVENT = TypeAdapter(Event)


@dataclass(frozen=True)
class Events:
    """All events of an episode in time order, as columns: an hour of mouse movement stays small.

    `x_px`, `y_px`, `dx`, `dy` are NaN, `buttons` and `vk` are `ABSENT`, where the event has no such field.
    """

    tick: np.ndarray  # (E,) int64
    kind: np.ndarray  # (E,) int64, index into kinds
    kinds: tuple[str, ...]  # names of all kinds, KNOWN_KINDS first
    x_px: np.ndarray  # (E,) float64
    y_px: np.ndarray  # (E,) float64
    dx: np.ndarray  # (E,) float64, counts of a mousedelta, notches of a wheel
    dy: np.ndarray  # (E,) float64
    buttons: np.ndarray  # (E,) int64, bits: held in a mousemove, else those that change
    vk: np.ndarray  # (E,) int64
    line: np.ndarray  # (E,) int64, line number in the file, from 1
    reordered: np.ndarray  # (E,) bool, stood behind a later one in the file
    unknown: dict[int, str]  # by line: the text of events of kinds that are not known

    def is_kind(self, kind: str) -> np.ndarray:
        """Mask of the events of a known kind.  # (E,) bool"""
        return self.kind == KNOWN_KINDS.index(kind)


def read_events(path: Path, sort_events: bool = False) -> Events:
    """Reads `events.jsonl`; with `sort_events`, events written out of order are put in order of their ticks.

    Raises:
        RecordingError: It is missing, or a line is broken, lacks a field, or goes back in time.
    """
    require_file(path, may_be_empty=True)  # who only watches is data, too
    kind_index = {name: i for i, name in enumerate(KNOWN_KINDS)}
    tick, kind, buttons, vk, line_number = array("q"), array("q"), array("q"), array("q"), array("q")
    x_px, y_px, dx, dy = array("d"), array("d"), array("d"), array("d")
    reordered = array("b")
    unknown: dict[int, str] = {}
    latest_tick: int | None = None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            event = _parse_event(f"{path}:{number}", line)
            if event is None:
                continue
            goes_back = latest_tick is not None and event.ts < latest_tick
            if goes_back and not sort_events:
                raise RecordingError(
                    f"{path}:{number}: ts goes back by {latest_tick - event.ts} ticks (to {event.ts}); "
                    "re-export, or pass --repair=[order]"
                )
            latest_tick = event.ts if latest_tick is None else max(latest_tick, event.ts)
            has_position = isinstance(event, MouseMove | MouseClick)
            has_motion = isinstance(event, MouseDelta | Wheel)
            line_number.append(number)
            reordered.append(goes_back)
            tick.append(event.ts)
            kind.append(kind_index.setdefault(event.kind, len(kind_index)))
            x_px.append(event.x if has_position else math.nan)
            y_px.append(event.y if has_position else math.nan)
            dx.append(event.dx if has_motion else math.nan)
            dy.append(event.dy if has_motion else math.nan)
            buttons.append(_buttons_of(event))
            vk.append(event.vk if isinstance(event, KeyDown | KeyUp) else ABSENT)
            if isinstance(event, UnknownEvent):
                unknown[number] = line.decode("utf-8-sig").strip()
    # Stable, so that events of equal ticks keep the order in which they were written.
    order = np.argsort(np.array(tick, dtype=np.int64), kind="stable")
    integers = {"tick": tick, "kind": kind, "buttons": buttons, "vk": vk, "line": line_number}
    floats = {"x_px": x_px, "y_px": y_px, "dx": dx, "dy": dy}
    return Events(
        kinds=tuple(kind_index),
        **{name: np.array(column, dtype=np.int64)[order] for name, column in integers.items()},
        **{name: np.array(column, dtype=np.float64)[order] for name, column in floats.items()},
        reordered=np.array(reordered, dtype=bool)[order],
        unknown=unknown,
    )


def _buttons_of(event: Event) -> int:
    match event:
        case MouseMove() | MouseClick():
            return ABSENT if event.buttons is None else event.buttons
        case ButtonDown() | ButtonUp():
            return event.button
        case _:
            return ABSENT


def _parse_event(place: str, line: bytes) -> Event | None:
    try:
        # Recorders on Windows may start the file with a byte-order mark.
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        bad = line[error.start : error.start + 1]
        raise RecordingError(f"{place}: byte {bad!r} is not UTF-8; re-export the recording") from None
    if not text:
        return None
    try:
        return _EVENT.validate_json(text)
    except ValidationError as error:
        raise RecordingError(f"{place}: {explain(error)}; correct the line or re-export") from None
