"""The command `recordings-to-lerobot`."""

import dataclasses
import json
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import draccus
import yaml
from draccus.utils import DecodingError
from rich.console import Console
from rich.table import Table

from recordings_to_lerobot.convert import ConvertSummary, convert
from recordings_to_lerobot.options import ConvertConfig
from recordings_to_lerobot.validation import RecordingError

PROGRAM = "recordings-to-lerobot"
USAGE = f"""usage: {PROGRAM} convert --input=DIR --repo_id=USER/NAME [--root=DIR] [options]

Turns mouse-and-keyboard screen recordings into a LeRobotDataset.
All options: {PROGRAM} convert --help
"""

_EXIT_USER_ERROR = 2
_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 2 for what the user can repair, or 130 when interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    if args[:1] != ["convert"]:
        return _fail(f"unknown command {shlex.join(args[:1]) or '(none)'}; the only one is `convert`")
    # A polite kill shall clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        config = draccus.parse(ConvertConfig, args=normalize_args(args[1:]), prog=f"{PROGRAM} convert")
        summary = convert(config)
    except RecordingError as error:
        return _fail(*error.problems)
    except (DecodingError, yaml.YAMLError, OSError) as error:
        return _fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return _EXIT_INTERRUPTED
    _print_summary(summary)
    return 0


def normalize_args(args: Sequence[str]) -> list[str]:
    """Brings the ways of writing an option to the one that draccus reads.

    `--sort-events` and `--sort_events` are the same, a switch needs no value, and text is taken literally,
    where draccus would read `--task="red: then blue"` as YAML.
    """
    types = {field.name: field.type for field in dataclasses.fields(ConvertConfig)}
    normalized: list[str] = []
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        option, equals, value = arg.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or name not in {*types, "config_path"}:
            normalized.append(arg)
            continue
        if not equals and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        elif not equals:
            value = "true" if types.get(name) is bool else ""
        is_text = types.get(name) in (str, str | None, Path, Path | None)
        normalized.append(f"--{name}={json.dumps(value) if is_text else value}")
    return normalized


def _fail(*problems: str) -> int:
    for problem in problems:
        print(f"{PROGRAM}: error: {problem}", file=sys.stderr)
    return _EXIT_USER_ERROR


def _print_summary(summary: ConvertSummary) -> None:
    table = Table("", "", title=f"Converted to {summary.repo_id}", show_header=False)
    table.add_row("episodes", f"{summary.episodes:,}")
    table.add_row("frames", f"{summary.frames:,}")
    table.add_row("buttons and keys used", ", ".join(summary.used_channels) or "none")
    for name, count in summary.findings.items():
        if count:
            table.add_row(name.replace("_", " "), f"{count:,}")
    table.add_row("seconds", f"{summary.seconds:.1f}")
    table.add_row("dataset", str(summary.root))
    console = Console()
    console.print(table)
    dataset = shlex.join([f"--dataset.repo_id={summary.repo_id}", f"--dataset.root={summary.root}"])
    # Outside the table and unwrapped, so that it can be copied.
    console.print("Next, train on it:", style="bold")
    print(f"  lerobot-train --policy.type=qwenvla --policy.push_to_hub=false {dataset}")
