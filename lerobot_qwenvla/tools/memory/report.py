"""How the answers of qwenvla-memory-check are printed."""

from collections.abc import Sequence

from rich.table import Table

from lerobot_qwenvla.tools.memory.changes import Change
from lerobot_qwenvla.tools.memory.measured import Measured
from lerobot_qwenvla.tools.parameters import Component

GB = 1e9
# What a card holds besides tensors: the CUDA context with its kernels and cuBLAS's workspaces, and the gaps between
# tensors. Both are estimates, on the high side.
CONTEXT_BYTES = 700_000_000
FRAGMENTATION = 0.1
RESERVE = f"{CONTEXT_BYTES / GB:g} GB for CUDA and {FRAGMENTATION:.0%} of the peak for gaps between tensors"
# Of every trained parameter there is a gradient and AdamW has two moments, all float32.
TRAINED_BYTES = 4


def needed_bytes(peak_bytes: int) -> float:
    """Memory of a card on which code of that peak runs."""
    return peak_bytes * (1 + FRAGMENTATION) + CONTEXT_BYTES


def component_table(components: Sequence[Component]) -> Table:
    """Parameters and bytes of every part of a policy."""
    table = _table("part", "parameters", "as stored MB", "gradients MB", "AdamW MB", title="Weights")
    sums = [sum(getattr(part, name) for part in components) for name in ("parameters", "trained", "stored_bytes")]
    for part in (*components, Component("total", *sums)):
        gradients = part.trained * TRAINED_BYTES
        megabytes = (f"{size / 1e6:,.1f}" for size in (part.stored_bytes, gradients, 2 * gradients))
        table.add_row(part.name, f"{part.parameters:,}", *megabytes)
    return table


def verdict_table(peaks_bytes: dict[str, int], card_bytes: float) -> Table:
    """Whether each of some things, by what they are called, fits the card."""
    table = _table("", "peak GB", "needs GB", "", title=f"On a card of {card_bytes / GB:g} GB")
    for what, peak in peaks_bytes.items():
        needed = needed_bytes(peak)
        table.add_row(what, f"{peak / GB:.2f}", f"{needed / GB:.2f}", "fits" if needed <= card_bytes else "too large")
    return table


def change_table(changes: Sequence[Change]) -> Table:
    """Changes, each of which alone makes a run fit."""
    table = _table("any one of", "needs GB", "costs", title="What makes it fit")
    table.columns[0].no_wrap = True  # to be copied
    table.columns[2].justify = "left"
    for change in changes:
        table.add_row(change.what, f"{needed_bytes(change.peak_bytes) / GB:.2f}", change.cost)
    return table


def measured_table(measured: Measured, computed_bytes: dict[str, int], device: str) -> Table:
    """Measured beside computed bytes, of weights, decision and training step."""
    source = "torch.cuda.max_memory_allocated" if device.startswith("cuda") else "resident memory of the process"
    table = _table("", "computed GB", "measured GB", title=f"Measured on {device}: {source}")
    measured_bytes = measured.weights_bytes, measured.decision_peak_bytes, measured.training_peak_bytes
    for (what, computed), found in zip(computed_bytes.items(), measured_bytes, strict=True):
        table.add_row(what, f"{computed / GB:.2f}", f"{found / GB:.2f}")
    return table


def _table(first: str, *others: str, title: str) -> Table:
    table = Table(first, title=title, title_justify="left")
    for heading in others:
        table.add_column(heading, justify="right")
    return table
