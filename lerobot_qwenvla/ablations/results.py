"""What the rows of a table reached: all training runs, means, and intervals; as JSON and as Markdown."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lerobot_qwenvla.evaluation.success import success_rate


@dataclass(frozen=True)
class Run:
    """A training run of a row.

    Attributes:
        successes: Of every episode, by variation, in the order of their seeds.
    """

    seed: int
    train_seconds: float
    successes: dict[str, list[bool]]


@dataclass
class Row:
    """A row of the table; `failed` says why it has not all its runs."""

    name: str
    runs: list[Run] = field(default_factory=list)
    failed: str | None = None


def over_all_runs(row: Row) -> dict[str, Any]:
    """Rate by variation, over the episodes of all runs together."""
    variations = row.runs[0].successes if row.runs else {}
    return {each: success_rate([ok for run in row.runs for ok in run.successes[each]]) for each in variations}


def write_results(rows: list[Row], facts: dict[str, Any], path: Path) -> None:
    """Writes `path` with the suffixes .json and .md; `facts` are what all rows have in common."""
    content = {**facts, "rows": [{**asdict(row), "over_all_runs": over_all_runs(row)} for row in rows]}
    _write(path.with_suffix(".json"), json.dumps(content, indent=2))
    _write(path.with_suffix(".md"), markdown(rows))


def markdown(rows: list[Row]) -> str:
    """The table; a row that failed says so in the place of what it lacks."""
    variations = next((list(row.runs[0].successes) for row in rows if row.runs), [])
    titles = ["", *variations, "by training seed", "training, minutes"]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        if not row.runs:
            lines.append([row.name, *["failed" if row.failed else "–"] * len(variations), "", ""])
            continue
        rates = over_all_runs(row)
        runs = "; ".join(
            " / ".join(f"{success_rate(run.successes[each])['success']:.0%}" for run in row.runs) for each in rates
        )
        minutes = " / ".join(f"{run.train_seconds / 60:.0f}" for run in row.runs)
        lines.append([row.name, *map(_cell, rates.values()), runs + (", then failed" if row.failed else ""), minutes])
    notes = [f"{row.name} failed: {row.failed}" for row in rows if row.failed]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", INTERVALS, *notes, ""])


INTERVALS = (
    "Intervals: Wilson, 95 %, over the episodes of all training runs together; how much runs differ is not in them, "
    "for which each stands beside."
)


def _percent(successes: list[bool]) -> str:
    return f"{sum(successes) / len(successes):.0%}"


def _cell(rate_: dict[str, Any]) -> str:
    low, high = rate_["interval_95"]
    return f"{rate_['success']:.0%} ({100 * low:.0f}–{100 * high:.0f})"


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
