"""From events one by one to the columns of a recording: hours of movements stay small."""

import math
from array import array
from collections.abc import Iterable

import numpy as np

from recordings_to_lerobot.importers.neutral import InputEvent
from recordings_to_lerobot.recordings.events import ABSENT, KNOWN_KINDS, Events


def to_columns(events: Iterable[InputEvent]) -> Events:
    """The columns of events in any order: put in order of time, those of one time in order of their lines."""
    kind_index = {name: i for i, name in enumerate(KNOWN_KINDS)}
    tick, kind, buttons, vk, line = (array("q") for _ in range(5))
    x_px, y_px, dx, dy = (array("d") for _ in range(4))
    unknown: dict[int, str] = {}
    for event in events:
        tick.append(event.ns)
        kind.append(kind_index.setdefault(event.kind, len(kind_index)))
        x_px.append(math.nan if event.x is None else event.x)
        y_px.append(math.nan if event.y is None else event.y)
        dx.append(math.nan if event.dx is None else event.dx)
        dy.append(math.nan if event.dy is None else event.dy)
        buttons.append(ABSENT if event.button is None else event.button)
        vk.append(ABSENT if event.vk is None else event.vk)
        line.append(event.line)
        if event.raw is not None:
            unknown[event.line] = event.raw
    integers = {"tick": tick, "kind": kind, "buttons": buttons, "vk": vk, "line": line}
    floats = {"x_px": x_px, "y_px": y_px, "dx": dx, "dy": dy}
    columns = {name: np.frombuffer(column, dtype=np.int64) for name, column in integers.items()}
    columns |= {name: np.frombuffer(column, dtype=np.float64) for name, column in floats.items()}
    columns = _take(columns, np.argsort(columns["line"], kind="stable"))
    columns["reordered"] = columns["tick"] < np.maximum.accumulate(columns["tick"])
    columns = _take(columns, np.argsort(columns["tick"], kind="stable"))
    return Events(kinds=tuple(kind_index), unknown=unknown, **columns)


def _take(columns: dict[str, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[order] for name, column in columns.items()}
