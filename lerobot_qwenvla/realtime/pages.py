"""A comparison as a table and as a picture."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

Rows = list[dict[str, Any]]

HEADINGS = {
    "way": "run as",
    "delay_ms": "added, ms",
    "success": "success",
    "seconds": "s to the goal",
    "reaction_ms": "reaction, ms",
    "actions_hz": "new actions, Hz",
    "stalled": "stalled",
    "decisions": "decisions",
}


def markdown(rows: Rows) -> str:
    """One row for each way to run a policy and each delay."""
    lines = [f"| {' | '.join(HEADINGS.values())} |", f"| {' | '.join('---' for _ in HEADINGS)} |"]
    lines += [f"| {' | '.join(_cell(name, row) for name in HEADINGS)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(name: str, row: dict[str, Any]) -> str:
    value = row[name]
    if value is None:
        return "–"
    if name == "success":
        low, high = row["interval_95"]
        return f"{value:.0%} ({low:.0%}–{high:.0%})"
    return f"{value:.0%}" if name == "stalled" else str(value)


def figure(rows: Rows) -> Figure:
    """Success and reaction over the delay, one line for each way to run the policy."""
    result = Figure(figsize=(9, 3.6), layout="constrained")
    success, reaction = result.subplots(1, 2)
    delays_ms = sorted({row["delay_ms"] for row in rows})
    ways = list(dict.fromkeys(row["way"] for row in rows))
    for way in ways:
        of_way = sorted((row for row in rows if row["way"] == way), key=lambda row: row["delay_ms"])
        style = "-" if way.startswith("async") else "--" if way == "sync" else ":"
        at = [delays_ms.index(row["delay_ms"]) for row in of_way]
        success.plot(at, [row["success"] for row in of_way], style, marker="o", ms=4, label=way)
        reaction.plot(at, [row["reaction_ms"] for row in of_way], style, marker="o", ms=4)
    for axes, title in ((success, "reached the goal"), (reaction, "reaction, ms")):
        axes.set(title=title, xlabel="added to a decision, ms")
        axes.set_xticks(range(len(delays_ms)), delays_ms)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    success.set_ylim(0, 1.05)
    success.yaxis.set_major_formatter(PercentFormatter(1))
    reaction.set_ylim(bottom=0)
    result.legend(loc="outside right center", frameon=False)
    return result
