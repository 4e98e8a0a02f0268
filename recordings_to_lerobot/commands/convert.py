"""`recordings-to-lerobot convert`"""

import shlex
import sys
from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import ConvertSummary, convert
from recordings_to_lerobot.dataset.names import QUARANTINE_FILE

__all__ = ["ConvertConfig", "run"]


def run(config: ConvertConfig) -> int:
    """Converts and says what was done; the exit code is 0 even if some recordings had to be left out."""
    summary = convert(config)
    console = Console()
    console.print(_table(summary, config))
    plan = summary.plan
    for problems in plan.problems.values():
        for problem in problems:
            print(f"left out: {problem}", file=sys.stderr)
    if plan.problems and not config.dry_run:
        print(f"{len(plan.problems)} recordings were left out; {QUARANTINE_FILE} keeps the reasons", file=sys.stderr)
    if summary.read_ms is not None:
        dataset = shlex.join([f"--dataset.repo_id={config.repo_id}", f"--dataset.root={summary.root}"])
        start, stop = map(int, summary.splits.get("train", "0:0").split(":"))
        train_only = f' --dataset.episodes="[$(seq -s, {start} {stop - 1})]"' if config.splits and stop else ""
        # Outside the table and unwrapped, so that it can be copied.
        console.print("Next, train on it:", style="bold")
        print(f"  lerobot-train --policy.type=qwenvla --policy.push_to_hub=false {dataset}{train_only}")
    return 0


def _table(summary: ConvertSummary, config: ConvertConfig) -> Table:
    plan = summary.plan
    verb = "Would convert" if config.dry_run else "Converted"
    table = Table("", "", title=f"{verb} to {config.repo_id}", show_header=False)
    table.add_row("episodes", f"{len(plan.entries):,}")
    if plan.already_there:
        table.add_row("already in the dataset", f"{plan.already_there:,}")
    if plan.problems:
        table.add_row("left out", f"{len(plan.problems):,}")
    table.add_row("frames", f"{sum(entry.n_rows for entry in plan.entries):,}")
    for split, episodes in summary.splits.items() if config.splits else ():
        table.add_row(f"split {escape(split)}", f"episodes {episodes}")
    pressed = sorted(frozenset().union(*(entry.pressed for entry in plan.entries)))
    table.add_row("buttons and keys used", ", ".join(pressed) or "none")
    counts: Counter[str] = Counter()
    for entry in plan.entries:
        counts.update(entry.counts)
    for name, count in counts.items():
        # Each may mean that something is wrong with the recordings.
        if count and name not in ("rows", "video_frames"):
            table.add_row(name.replace("_", " "), f"{count:,}")
    if summary.mouse_scale is not None:
        clipped = sum(
            int((entry.moves > summary.mouse_scale).sum()) for entry in plan.entries if entry.moves is not None
        )
        table.add_row("mouse", f"{summary.mouse_scale:g} counts make 1; {clipped:,} rows clipped")
    for line in _videos(summary):
        table.add_row("videos", line)
    table.add_row("seconds", f"{summary.seconds:.1f}")
    table.add_row("dataset", escape(str(summary.root)))
    return table


def _videos(summary: ConvertSummary) -> list[str]:
    plan = summary.plan
    copied = [entry for entry in plan.entries if entry.folder not in plan.not_copied]
    lines = []
    if copied:
        decoded = sum(entry.facts.mean_decoded for entry in copied) / len(copied)
        lines.append(f"{len(copied):,} copied; reading a picture at random decodes {decoded:.1f}")
    reasons = Counter(plan.not_copied[entry.folder] for entry in plan.entries if entry.folder in plan.not_copied)
    lines += [f"{count:,} encoded: {reason}" for reason, count in reasons.most_common()]
    if summary.read_ms is not None:
        lines.append(f"reading a picture at random takes {summary.read_ms:.1f} ms here")
    return lines
