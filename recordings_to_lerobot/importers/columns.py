"""From events one by one to the columns of a recording: hours of movements stay small."""

import math
from array import array
from collections.abc import Iterable

import numpy as np

from recordings_to_lerobot.importers.neutral import InputEvent
from recordings_to_lerobot.recordings.events import ABSENT, KNOWN_KINDS, Events


def to_columns(events: Iterable[InputEvent], size_px: tuple[int, int]) -> Events:
    """The columns of a recording's events, in any order, on a canvas of (width, height).

    They are put in order of time, those of one time in order of their lines.
    """
    kind_index = {name: i for i, name in enumerate((*KNOWN_KINDS, "buttondown", "buttonup"))}
    tick, kind, buttons, vk, line = (array("q") for _ in range(5))
    x_px, y_px = array("d"), array("d")
    for event in events:
        tick.append(event.ns)
        kind.append(kind_index.setdefault(event.kind, len(kind_index)))
        x_px.append(math.nan if event.x is None else event.x)
        y_px.append(math.nan if event.y is None else event.y)
        buttons.append(ABSENT if event.button is None else event.button)
        vk.append(ABSENT if event.vk is None else event.vk)
        line.append(event.line)
    integers = {"tick": tick, "kind": kind, "buttons": buttons, "vk": vk, "line": line}
    columns = {name: np.frombuffer(column, dtype=np.int64) for name, column in integers.items()}
    columns |= {"x_px": np.frombuffer(x_px, dtype=np.float64), "y_px": np.frombuffer(y_px, dtype=np.float64)}
    columns = _take(columns, np.argsort(columns["line"], kind="stable"))
    columns["reordered"] = columns["tick"] < np.maximum.accumulate(columns["tick"])
    columns = _take(columns, np.argsort(columns["tick"], kind="stable"))
    _hold_buttons(columns, kind_index["buttondown"], kind_index["buttonup"], size_px)
    return Events(kinds=tuple(kind_index), **columns)


def _take(columns: dict[str, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[order] for name, column in columns.items()}


def _hold_buttons(columns: dict[str, np.ndarray], down: int, up: int, size_px: tuple[int, int]) -> None:
    """Turns presses and releases of one button into moves, to where the mouse is, that say which are held."""
    kind, bits = columns["kind"], columns["buttons"]
    changes = np.flatnonzero((kind == down) | (kind == up))
    held, after = 0, []
    for bit, is_down in zip(bits[changes].tolist(), (kind[changes] == down).tolist(), strict=True):
        held = held | bit if is_down else held & ~bit
        after.append(held)
    bits[changes] = after
    has_position = ~np.isnan(columns["x_px"])
    latest = np.maximum.accumulate(np.where(has_position, np.arange(len(kind)), -1))[changes]
    for name, size in zip(("x_px", "y_px"), size_px, strict=True):
        columns[name][changes] = np.where(latest < 0, (size - 1) / 2, columns[name][latest])
    kind[changes] = KNOWN_KINDS.index("mousemove")
