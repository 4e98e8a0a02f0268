"""Pictures of an evaluation: an episode recorded and predicted, and how far predicted values can be trusted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lerobot_qwenvla.devices.input_state import PRESSED_ABOVE
from recordings_to_lerobot.actions.channels import MOUSE_CHANNELS

BLUE, ORANGE, GREY, LIGHT_GREY = "#1f5fbf", "#d9730d", "#8a8f98", "#d5d8dd"
MOST_LINES = 6  # continuous channels drawn of a dataset that has many
COLUMNS = 4


def episode_figure(
    predicted: np.ndarray, true: np.ndarray, *, names: Sequence[str], is_binary: np.ndarray, fps: float, title: str
) -> Figure:
    """Actions of an episode (L, A) over time: mouse as lines, and when each channel used is pressed as bars."""
    seconds = np.arange(len(true)) / fps
    lines = np.flatnonzero(~is_binary)[:MOST_LINES]
    is_used = is_binary & ((predicted > PRESSED_ABOVE) | (true > PRESSED_ABOVE)).any(0)
    bars = np.flatnonzero(is_used)
    heights = [1.3] * len(lines) + [0.4 + 0.4 * len(bars)] * bool(len(bars))
    figure = Figure(figsize=(9, 1.1 + sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, channel in zip(panels, lines, strict=False):
        axes.plot(seconds, true[:, channel], color=GREY, lw=3, alpha=0.6, label="recorded")
        axes.plot(seconds, predicted[:, channel], color=BLUE, lw=1.4, label="predicted")
        axes.set_ylabel(names[channel], fontsize=9)
        if names[channel] in MOUSE_CHANNELS:  # the whole screen
            axes.set_ylim(-1.1, 1.1)
    if len(bars):
        for row, channel in enumerate(bars):
            for actions, offset, color in ((true, -0.32, GREY), (predicted, 0.02, BLUE)):
                spans = _spans(actions[:, channel] > PRESSED_ABOVE, fps)
                panels[-1].broken_barh(spans, (row + offset, 0.3), color=color, alpha=0.75, lw=0)
        panels[-1].set_yticks(range(len(bars)), [names[channel] for channel in bars])
        panels[-1].set(ylim=(len(bars) - 0.5, -0.5))
        panels[-1].tick_params(axis="y", length=0)
    for axes in panels:
        _tidy(axes)
    panels[-1].set(xlabel="s", xlim=(0, len(true) / fps))
    handles = [panels[0].plot([], [], color=color, lw=3)[0] for color in (GREY, BLUE)]
    figure.align_ylabels()
    figure.legend(handles, ["recorded", "predicted"], loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def reliability_figure(channels: dict[str, dict[str, Any]]) -> Figure | None:
    """How often a channel is pressed, by predicted value, for each that is ever pressed; None where none is."""
    used = {name: channel for name, channel in channels.items() if channel.get("best_threshold")}
    if not used:
        return None
    columns = min(COLUMNS, len(used))
    rows = -(-len(used) // columns)
    figure = Figure(figsize=(max(4.5, 0.6 + 2.4 * columns), 0.9 + 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(used) :]:
        axes.remove()
    for axes, (name, channel) in zip(panels.flat, used.items(), strict=False):
        curve, threshold = channel["reliability"], channel["best_threshold"]
        area = 12 + 120 * np.array(curve["steps"]) / max(curve["steps"])
        axes.plot([0, 1], [0, 1], color=LIGHT_GREY, lw=1, zorder=0)
        axes.plot(curve["predicted"], curve["observed"], color=BLUE, lw=1.2)
        axes.scatter(curve["predicted"], curve["observed"], area, color=BLUE, alpha=0.75, lw=0)
        axes.axvline(min(max(threshold["value"], 0), 1), color=ORANGE, lw=1.2, ls=":")
        axes.set_title(f"{name}: {channel['pressed']:.0%} pressed\nbest F1 {threshold['f1']:.2f}", fontsize=9)
        axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        _tidy(axes)
    figure.supxlabel("predicted value (area: steps; dotted: threshold with best F1)", fontsize=9)
    figure.supylabel("share really pressed", fontsize=9)
    return figure


def _spans(pressed: np.ndarray, fps: float) -> list[tuple[float, float]]:
    """Start and length, in seconds, of each stretch in which steps (L,) are pressed."""
    edges = np.flatnonzero(np.diff(pressed, prepend=False, append=False)).reshape(-1, 2)
    return [(start / fps, (stop - start) / fps) for start, stop in edges]


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
