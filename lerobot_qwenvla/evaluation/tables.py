"""An evaluation as tables for a terminal."""

from typing import Any

from rich.table import Table

from lerobot_qwenvla.evaluation.comparison import WINDOWS

Comparison = dict[str, dict[str, Any]]  # player → window → what `measure` says


def comparison_table(comparison: Comparison, title: str, n_action_steps: int, chunk_size: int) -> Table:
    """Every player, first by what would be executed of its chunks, then by all of them."""
    result = Table(title=title)
    result.add_column("", no_wrap=True)
    for heading in ("MSE\nnorm.", "MSE\nraw", "presses\nright", "event\nF1", "jerk²", "presses\nper s"):
        result.add_column(heading, justify="right")
    steps = dict(zip(WINDOWS, (f"executed: {n_action_steps}", f"chunk: {chunk_size}"), strict=True))
    for window in WINDOWS:
        result.add_section()
        result.add_row(f"[bold]{steps[window]}")
        for player, measured in comparison.items():
            result.add_row(f"  {player}", *_cells(measured[window]))
        measured = next(iter(comparison.values()))[window]
        recorded = _number(measured["squared_jerk_true"], ".2g"), _number(measured["presses_per_second_true"], ".2f")
        result.add_row("  recorded", "", "", "", "", *recorded)
    return result


def channel_table(channels: dict[str, dict[str, Any]]) -> Table | None:
    """The policy's buttons and keys that are pressed in the recordings; None where none is."""
    used = {name: channel for name, channel in channels.items() if channel.get("best_threshold")}
    if not used:
        return None
    result = Table(title="executed actions of the policy, by channel")
    result.add_column("")
    for heading in ("pressed", "right", "event\nF1", "threshold with\nbest F1", "its F1"):
        result.add_column(heading, justify="right")
    for name, channel in used.items():
        threshold = channel["best_threshold"]
        result.add_row(
            name,
            f"{channel['pressed']:.1%}",
            f"{channel['accuracy']:.1%}",
            _number(channel["transition_f1"], ".2f"),
            f"{threshold['value']:.2f}",
            f"{threshold['f1']:.2f}",
        )
    return result


def _cells(measured: dict[str, Any]) -> list[str]:
    formats = {
        "mse_normalized": ".3g", "mse": ".3g", "accuracy": ".1%", "transition_f1": ".2f", "squared_jerk": ".2g",
        "presses_per_second": ".2f",
    }  # fmt: skip
    return [_number(measured[name], format_) for name, format_ in formats.items()]


def _number(value: float | None, format_: str) -> str:
    return "–" if value is None else format(value, format_)
