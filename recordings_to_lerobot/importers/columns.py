"""From events one by one to the columns of a recording."""

import itertools
import math
from array import array
from collections.abc import Iterable

import numpy as np

from recordings_to_lerobot.importers.neutral import InputEvent
from recordings_to_lerobot.recordings.events import ABSENT, KNOWN_KINDS, Events


def in_order_of_time(events: Iterable[InputEvent]) -> tuple[list[InputEvent], list[bool]]:
    """Events in order of time, those of one time in order of their lines; and whether each stood behind a later one."""
    by_line = sorted(events, key=lambda event: event.line)
    latest_ns = itertools.accumulate((event.ns for event in by_line), max)
    told = [(event, event.ns < latest) for event, latest in zip(by_line, latest_ns, strict=True)]
    told.sort(key=lambda pair: pair[0].ns)
    return [event for event, _ in told], [is_late for _, is_late in told]


def with_held_buttons(events: Iterable[InputEvent], centre_px: tuple[float, float]) -> Iterable[InputEvent]:
    """Turns buttons that go down and up into what moves of the mouse say is held, where the cursor was last seen."""
    x, y = centre_px
    held = 0
    for event in events:
        if event.kind == "mousemove":
            x, y = event.x, event.y
        elif event.kind in ("buttondown", "buttonup"):
            held = held | event.button if event.kind == "buttondown" else held & ~event.button
            event = InputEvent(event.ns, "mousemove", event.line, x=x, y=y, buttons=held)
        yield event


def to_columns(events: Iterable[InputEvent], size_px: tuple[int, int]) -> Events:
    """The columns of a recording's events, in order of time, on a canvas of (width, height)."""
    ordered, reordered = in_order_of_time(events)
    centre_px = (size_px[0] - 1) / 2, (size_px[1] - 1) / 2
    kind_index = {name: i for i, name in enumerate(KNOWN_KINDS)}
    tick, kind, buttons, vk, line = (array("q") for _ in range(5))
    x_px, y_px = array("d"), array("d")
    for event in with_held_buttons(ordered, centre_px):
        tick.append(event.ns)
        kind.append(kind_index.setdefault(event.kind, len(kind_index)))
        x_px.append(math.nan if event.x is None else event.x)
        y_px.append(math.nan if event.y is None else event.y)
        buttons.append(ABSENT if event.buttons is None else event.buttons)
        vk.append(ABSENT if event.vk is None else event.vk)
        line.append(event.line)
    integers = {"tick": tick, "kind": kind, "buttons": buttons, "vk": vk, "line": line}
    return Events(
        kinds=tuple(kind_index),
        **{name: np.frombuffer(column, dtype=np.int64) for name, column in integers.items()},
        x_px=np.frombuffer(x_px, dtype=np.float64),
        y_px=np.frombuffer(y_px, dtype=np.float64),
        reordered=np.array(reordered, dtype=bool),
    )
