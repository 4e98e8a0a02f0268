"""`recordings-to-lerobot explain`"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from recordings_to_lerobot.actions.channels import BUTTON_BITS, SIDE_BUTTON_BITS
from recordings_to_lerobot.actions.encoding import denormalize_px
from recordings_to_lerobot.alignment.timeline import NS_PER_MS
from recordings_to_lerobot.verification.derivation import ExplainedRow, Explanation, RawEvent, signed
from recordings_to_lerobot.verification.explanation import explain_row


@dataclass(kw_only=True)
class ExplainConfig:
    """Show what was recorded around a row of a dataset, and how it became the row's state and action."""

    # Folder of the dataset
    root: Path
    # Its episode_index
    episode: int
    # Its frame_index
    frame: int
    # How many rows to show before and after it
    around: int = 2

    def __post_init__(self):
        self.root = self.root.expanduser()


def run(config: ExplainConfig) -> int:
    """Prints the explanation."""
    explanation = explain_row(config.root, config.episode, config.frame, config.around)
    console = Console()
    console.print(_tree(explanation, config.episode))
    for feature in ("observation.state", "action"):
        console.print(_reasons(explanation, feature))
    return 0


def _tree(explanation: Explanation, episode: int) -> Tree:
    origin_ms = explanation.origin_ns / NS_PER_MS
    title = Text.assemble((f"Episode {episode}, {explanation.source}", "bold"), f": {explanation.task}")
    title.append(f"\nmilliseconds count from the first row, {origin_ms:,.3f} on the recorder's clock", "dim")
    tree = Tree(title)
    for row in explanation.rows:
        branch = tree.add(_heading(explanation, row))
        branch.add(Text(f"state   {_values(explanation, row.state)}"))
        branch.add(Text(f"action  {_values(explanation, row.action)}"))
        for event in row.events:
            branch.add(_event(explanation, event))
        for dropped in row.dropped_after:
            frames = f"{dropped.first}–{dropped.last}" if dropped.last > dropped.first else str(dropped.first)
            branch.add(Text(f"source frame {frames} not shown: {dropped.note}", "yellow"))
    return tree


def _heading(explanation: Explanation, row: ExplainedRow) -> Text:
    interval = f"[{explanation.ms(row.start_ns)}, {explanation.ms(row.end_ns)}) ms"
    style = "bold green" if row.frame == explanation.frame else "bold"
    heading = Text(f"row {row.frame}  {interval}  source frame {row.source_frame}", style)
    if row.captured_ns != row.start_ns:
        heading.append(f", captured at {explanation.ms(row.captured_ns)}", "not bold")
    return heading


def _values(explanation: Explanation, vector: np.ndarray) -> str:
    """Mouse in pixels and as stored, and what is down."""
    channels = explanation.channels
    mouse = [index for index, channel in enumerate(channels) if channel.startswith("mouse.")]
    amounts = []
    for index, size_px in zip(mouse, explanation.size_px, strict=True):
        is_position = channels[index] in ("mouse.x", "mouse.y")
        value = float(vector[index])
        unit = explanation.mouse_scale or size_px - 1
        amounts.append(denormalize_px(value, size_px) if is_position else value * unit)
    verb = "at" if "mouse.x" in channels else "moved by"
    x, y = (f"{value:.1f}" for value in amounts)
    stored = ", ".join(f"{channels[index]} {signed(vector[index])}" for index in mouse)
    others = [
        (channel, vector[index]) for index, channel in enumerate(channels) if index not in mouse and vector[index]
    ]
    down = ", ".join(channel for channel, _ in others if not channel.startswith("wheel.")) or "nothing"
    turned = "".join(f"; {channel} {value:+g}" for channel, value in others if channel.startswith("wheel."))
    return f"mouse {verb} {x}, {y} {'counts' if explanation.mouse_scale else 'px'} ({stored}); down: {down}{turned}"


def _event(explanation: Explanation, event: RawEvent) -> Text:
    text = Text(f"line {event.line}  {explanation.ms(event.ns)} ms  {event.kind}")
    if event.x_px is not None:
        text.append(f" x={event.x_px:g} y={event.y_px:g}")
    if event.dx is not None:
        text.append(f" dx={event.dx:g} dy={event.dy:g}")
    if event.buttons is not None:
        names = [name for name, bit in (BUTTON_BITS | SIDE_BUTTON_BITS).items() if event.buttons & bit]
        text.append(f" buttons={event.buttons} ({', '.join(names) or 'none'})")
    if event.vk is not None:
        name = explanation.key_of_code.get(event.vk)
        text.append(f" vk={event.vk}{f' ({name})' if name else ''}")
    if not event.is_used:
        text.append(f"  not used: {event.note}", "yellow")
    elif event.note:
        text.append(f"  used, {event.note}", "yellow")
    return text


def _reasons(explanation: Explanation, feature: str) -> Table:
    reasons = [reason for reason in explanation.reasons if reason.feature == feature]
    shown = [r for r in reasons if r.stored or r.channel.startswith("mouse.") or not r.agrees]
    # A table only for its wrapped lines to stay in their column.
    table = Table(title=f"{feature} of row {explanation.frame}", title_justify="left", show_header=False, box=None)
    for reason in shown:
        words = Text(reason.words)
        if not reason.agrees:
            words.append(f"; but the dataset has {reason.stored:g}: it was changed", "bold red")
        table.add_row(f"{reason.channel} =", words)
    if len(shown) < len(reasons):
        table.add_row("all others =", "0: not down")
    return table
