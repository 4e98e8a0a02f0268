"""What lerobot-train prints, as curves."""

import re
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

from lerobot_qwenvla.evaluation.figures import BLUE, GREY, ORANGE

Curves = dict[str, dict[int, float]]  # name → step → value

LOSS, VALIDATION = "loss", "eval_loss"
# As lerobot-train abbreviates them, and how they are called here; the second one is printed where there is a GPU.
PANELS = {"lr": "learning rate", "mem_gb": "GPU memory, GB"}


def read_curves(train_log: Path, log_every: int) -> Curves:
    """All numbers that a run has printed every `log_every` steps, and its losses on held-out episodes.

    LeRobot rounds the steps of its training lines ("step:2K"), so they are counted.
    """
    text = train_log.read_text(encoding="utf-8", errors="replace")
    curves: Curves = defaultdict(dict)
    for i, line in enumerate(re.findall(r"\bstep:\S+ .*", text), start=1):
        for name, value in re.findall(r"(\S+?):([-+.\de]+)(?=\s|$)", line):
            curves[name][log_every * i] = float(value)
    for step, loss in re.findall(r"step (\d+): eval_loss=([\d.]+)", text):
        curves[VALIDATION][int(step)] = float(loss)
    return dict(curves)


def curves_figure(curves: Curves) -> Figure:
    """Loss, its parts and that of held-out episodes; and below it the learning rate and the memory, where printed."""
    panels = [name for name in PANELS if name in curves]
    figure = Figure(figsize=(5.6, 2.8 + 1.1 * len(panels)), layout="constrained")
    heights = [2.8] + [1.1] * len(panels)
    upper, *lower = figure.subplots(1 + len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for name in sorted(name for name in curves if name.startswith(f"{LOSS}_")):
        upper.plot(*_points(curves[name]), color=GREY, lw=0.8)
        upper.annotate(name.removeprefix(f"{LOSS}_"), list(curves[name].items())[-1], color=GREY, fontsize=8)
    upper.plot(*_points(curves.get(LOSS, {})), color=BLUE, label="training episodes")
    if VALIDATION in curves:
        upper.plot(*_points(curves[VALIDATION]), "o", color=ORANGE, label="held-out episodes")
    upper.set(ylabel="flow-matching loss", yscale="log")
    upper.legend(frameon=False)
    for axes, name in zip(lower, panels, strict=True):
        axes.plot(*_points(curves[name]), color=BLUE)
        axes.set(ylabel=PANELS[name], ylim=(0, None))
    (lower or [upper])[-1].set_xlabel("step")
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _points(curve: dict[int, float]) -> tuple[list[int], list[float]]:
    return list(curve), list(curve.values())
