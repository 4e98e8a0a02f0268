"""The report's pictures."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from recordings_to_lerobot.inspection.clock_offset import SHIFT_MS, OffsetEstimate
from recordings_to_lerobot.inspection.episode import Inspection
from recordings_to_lerobot.inspection.wording import channel_label

matplotlib.rcParams.update(
    {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "path"}
)

BLUE, ORANGE, GREY, PALE = "#1f5fbf", "#d9730d", "#8a8f98", "#dfe3e8"
_SIZE = (5.6, 2.7)
# More lines than this run into each other.
_MAX_LINES = 60
_MAX_USES = 16


def frame_intervals(inspections: Sequence[Inspection]) -> Figure:
    """How far apart the frames are, over all episodes."""
    intervals_ms = np.concatenate([inspection.traces.interval_ms for inspection in inspections])
    figure, axes = _axes()
    if len(intervals_ms):
        axes.hist(intervals_ms, bins=80, color=BLUE)
        axes.set(yscale="log", ylim=(0.6, None))
    for fps in sorted({inspection.summary.fps for inspection in inspections}):
        label = f"{fps:g} frames a second"
        axes.axvline(1000 / fps, color=ORANGE, lw=1, ls="--", label=label)
    axes.legend(frameon=False)
    axes.set(xlabel="ms to the next frame", ylabel="frames")
    return figure


def jitter(inspections: Sequence[Inspection]) -> Figure:
    """How regular the frames of each episode are."""
    figure, axes = _axes()
    index = np.arange(len(inspections))
    intervals = [inspection.summary.intervals for inspection in inspections]
    p95 = [episode.p95_ms - episode.median_ms for episode in intervals]
    axes.vlines(index, 0, p95, color=PALE, lw=max(1.0, min(6.0, 240 / len(index))), label="95 % of the frames")
    axes.plot(index, [episode.jitter_ms for episode in intervals], ".", color=BLUE, label="standard deviation")
    axes.set(xlabel="episode", ylabel="ms later than the median", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return figure


def event_rate(inspections: Sequence[Inspection]) -> Figure:
    """How many events the seconds of all episodes have."""
    per_second = np.concatenate([inspection.traces.events_per_s for inspection in inspections])
    figure, axes = _axes()
    if len(per_second):
        bins = np.arange(0, per_second.max() + 2) if per_second.max() < 60 else 60
        axes.hist(per_second, bins=bins, weights=np.full(len(per_second), 1 / len(per_second)), color=BLUE)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set(xlabel="events within a second", ylabel="share of the seconds")
    return figure


def idle_time(inspections: Sequence[Inspection]) -> Figure:
    """When nothing happened in each episode, or in those in which that was longest."""
    most_idle = sorted(range(len(inspections)), key=lambda i: -inspections[i].summary.idle_s)[:_MAX_LINES]
    figure, axes = _axes()
    for line, i in enumerate(sorted(most_idle)):
        inspection = inspections[i]
        axes.broken_barh([(0, inspection.summary.duration_s)], (line - 0.4, 0.8), color=PALE)
        spans = [(start_s, stop_s - start_s) for start_s, stop_s in inspection.traces.idle_s.tolist()]
        axes.broken_barh(spans, (line - 0.4, 0.8), color=ORANGE)
    axes.set(xlabel="seconds; idle ones in orange", ylabel="episode", ylim=(len(most_idle) - 0.4, -0.6))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    return figure


def uses(inspections: Sequence[Inspection]) -> Figure:
    """Share of all rows in which each key and button is down, and how often each was pressed."""
    rows = sum(inspection.summary.rows for inspection in inspections)
    held: dict[str, float] = {}
    presses: dict[str, int] = {}
    for inspection in inspections:
        for name, use in inspection.summary.uses.items():
            held[name] = held.get(name, 0) + use.held_share * inspection.summary.rows / rows
            presses[name] = presses.get(name, 0) + use.presses
    names = sorted(held, key=lambda name: (-held[name], -presses[name], name))[:_MAX_USES]
    figure, axes = _axes(height=max(1.6, 0.7 + 0.24 * len(names)))
    bars = axes.barh([channel_label(name) for name in names], [held[name] for name in names], color=BLUE, height=0.62)
    axes.bar_label(bars, [f"{presses[name]:,}×" for name in names], padding=4, color=GREY, fontsize=8)
    axes.set(ylim=(max(len(names), 1) - 0.4, -0.6), xlabel="share of the rows in which it is down; number of presses")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.margins(x=0.12)
    return figure


def mouse_map(inspections: Sequence[Inspection]) -> Figure:
    """Where on the canvas the mouse was, over all rows."""
    counts = sum(inspection.traces.mouse_map for inspection in inspections)
    width_px, height_px = inspections[0].summary.canvas_px
    figure, axes = _axes(height=3.0)
    shares = np.ma.masked_equal(counts / max(1, counts.sum()), 0)
    # The palest blues cannot be told from the page.
    norm = LogNorm(shares.min() / 5, shares.max())
    image = axes.imshow(shares, cmap="Blues", norm=norm, extent=(0, 1, 1, 0), aspect=height_px / width_px)
    axes.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], xlabel="x", ylabel="y")
    axes.spines[:].set(visible=True, color=PALE)
    axes.set_anchor("W")
    figure.colorbar(image, ax=axes, label="share of the rows", shrink=0.85)
    return figure


def offset_curve(estimate: OffsetEstimate) -> Figure:
    """How well events and pictures fit together if the events are shifted."""
    figure, axes = _axes()
    axes.axvspan(estimate.low_ms - 5, estimate.high_ms + 5, color=PALE)
    axes.axvline(0, color=GREY, lw=0.8)
    axes.plot(SHIFT_MS, estimate.correlation, color=BLUE)
    if estimate.confidence != "none":
        axes.axvline(estimate.offset_ms, color=ORANGE, lw=1, ls="--")
    axes.set(xlabel="ms added to the events", ylabel="correlation", ylim=(0, None), xlim=(SHIFT_MS[0], SHIFT_MS[-1]))
    return figure


def _axes(height: float = _SIZE[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
    return figure, figure.subplots()
