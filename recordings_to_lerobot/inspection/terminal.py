"""What `inspect` shows in the terminal."""

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from recordings_to_lerobot.inspection.episode import EpisodeSummary, FolderInspection
from recordings_to_lerobot.inspection.wording import channel_label, duration, episode_offset, set_offset, top_uses

# With more episodes than this, only their spread is shown.
MAX_EPISODES = 40

# With fewer columns of text than this, the table of episodes has fewer columns, too.
WIDE = 105


def render(folder: FolderInspection, width: int) -> Group:
    """Tables of the recordings, what they come to, and what is wrong with the others, in so many columns of text."""
    # Names are wrapped in Text throughout, for brackets in them are no markup.
    parts: list[RenderableType] = []
    if folder.inspections:
        is_short = len(folder.inspections) <= MAX_EPISODES
        parts += [_episodes(folder, width < WIDE) if is_short else _spread(folder), _totals(folder)]
    if folder.problems:
        count = len(folder.problems)
        parts.append(Text(f"{count} recording{'s' * (count > 1)} cannot be converted:", style="bold red"))
        parts += [Text(f"  {problem}") for problems in folder.problems.values() for problem in problems]
    return Group(*parts)


def _episodes(folder: FolderInspection, is_narrow: bool) -> Table:
    columns = {
        "\ns": [f"{episode.duration_s:.1f}" for episode in folder.summaries],
        "\nrows": [f"{episode.rows:,}" for episode in folder.summaries],
        "dupli-\ncates": [f"{episode.duplicate_frames:,}".lstrip("0") for episode in folder.summaries],
        "\nfps": [f"{episode.fps_measured:.2f}" for episode in folder.summaries],
        "median\nms": [f"{episode.intervals.median_ms:.1f}" for episode in folder.summaries],
        "max\nms": [f"{episode.intervals.max_ms:.1f}" for episode in folder.summaries],
        "jitter\nms": [f"{episode.intervals.jitter_ms:.1f}" for episode in folder.summaries],
        "\nevents": [f"{sum(episode.events.values()):,}" for episode in folder.summaries],
        "idle\ns": [f"{episode.idle_s:.1f}" if episode.idle_s else "" for episode in folder.summaries],
        "offset\nms": [episode_offset(episode.offset) for episode in folder.summaries],
    }
    # Empty ones would only take room from the others.
    dispensable = ("\nfps", "median\nms", "jitter\nms") if is_narrow else ()
    columns = {header: cells for header, cells in columns.items() if any(cells) and header not in dispensable}
    table = Table(title=Text(folder.name), title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("\nepisode", overflow="fold", min_width=12)
    for header in columns:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("\ndown")
    for episode, *cells in zip(folder.summaries, *columns.values(), strict=True):
        table.add_row(Text(episode.source), *cells, top_uses(episode, most=2))
    return table


def _spread(folder: FolderInspection) -> Table:
    title = Text(f"{folder.name}: {len(folder.inspections)} episodes")
    table = Table("", title=title, title_style="bold")
    for column in ("lowest", "median", "highest", "highest in"):
        table.add_column(column, justify="left" if column == "highest in" else "right")
    rows = {
        "seconds": lambda episode: episode.duration_s,
        "rows": lambda episode: episode.rows,
        "duplicate frames": lambda episode: episode.duplicate_frames,
        "frames a second": lambda episode: episode.fps_measured,
        "median interval, ms": lambda episode: episode.intervals.median_ms,
        "longest interval, ms": lambda episode: episode.intervals.max_ms,
        "jitter, ms": lambda episode: episode.intervals.jitter_ms,
        "events": lambda episode: sum(episode.events.values()),
        "mouse travel, canvas sizes": lambda episode: episode.mouse_travel,
        "idle seconds": lambda episode: episode.idle_s,
    }
    for name, value in rows.items():
        values = [value(episode) for episode in folder.summaries]
        shown = [_number(number) for number in np.quantile(values, [0, 0.5, 1]).tolist()]
        highest: EpisodeSummary = folder.summaries[int(np.argmax(values))]
        table.add_row(name, *shown, Text(highest.source) if max(values) > min(values) else "")
    return table


def _totals(folder: FolderInspection) -> Table:
    totals = folder.totals
    table = Table("", "", show_header=False)
    table.add_row("episodes", f"{len(folder.inspections):,}")
    table.add_row("duration", f"{duration(totals.duration_s)}, {duration(totals.idle_s)} of it idle")
    table.add_row("rows", f"{totals.rows:,}, {totals.rows_kept:,} without idle ones")
    table.add_row("duplicate frames", f"{totals.duplicate_frames:,}")
    table.add_row("events", _counts(totals.events))
    if totals.findings:
        table.add_row("of these", _counts({name.replace("_", " "): n for name, n in totals.findings.items()}))
    table.add_row("presses", _counts({channel_label(name): n for name, n in totals.presses.items()}))
    tasks = {task or "(no instruction)": count for task, count in totals.tasks.items()}
    table.add_row("instructions", Text("; ".join(list(tasks)[:5]) + (f" +{len(tasks) - 5}" if len(tasks) > 5 else "")))
    table.add_row("clock", set_offset(folder.offset))
    return table


def _counts(counts: dict[str, int]) -> Text:
    return Text(", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}" if value < 100 else f"{value:,.1f}"
