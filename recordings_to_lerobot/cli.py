"""The command `recordings-to-lerobot`."""

import dataclasses
import importlib
import math
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import draccus
import yaml
from draccus.utils import DecodingError

from recordings_to_lerobot.recordings.validation import RecordingError

PROGRAM = "recordings-to-lerobot"


@dataclass(frozen=True)
class Command:
    """One of the commands: a dataclass of options and a function of it that returns the exit code."""

    module: str
    config: str
    about: str
    resumes: bool = False  # whether the same command goes on where an interrupted one was

    def load(self) -> tuple[type, object]:
        """The dataclass and the function; importing them can take seconds."""
        module = importlib.import_module(self.module)
        return getattr(module, self.config), module.run


_HERE = "recordings_to_lerobot.commands"
COMMANDS = {
    "inspect": Command(f"{_HERE}.inspect_recordings", "InspectConfig", "see what is in recordings"),
    "convert": Command(f"{_HERE}.convert", "ConvertConfig", "convert recordings, or add new ones to a dataset", True),
    "merge": Command(f"{_HERE}.merge", "MergeConfig", "join datasets that were converted apart"),
    "verify": Command(f"{_HERE}.verify", "VerifyConfig", "compare a dataset with the recordings it was made from"),
    "explain": Command(f"{_HERE}.explain", "ExplainConfig", "show what was recorded around a row of a dataset"),
    "push": Command(f"{_HERE}.push", "PushConfig", "upload a dataset to the Hub with its card"),
}
_EXIT_USER_ERROR = 2
_EXIT_INTERRUPTED = 130


def usage() -> str:
    """What `--help` says."""
    commands = "\n".join(f"  {name:9}{command.about}" for name, command in COMMANDS.items())
    return f"""usage: {PROGRAM} COMMAND --option=value ...

Turns mouse-and-keyboard screen recordings into a LeRobotDataset.

{commands}

All options of a command: {PROGRAM} COMMAND --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code, 2 for what the user can repair, or 130 when interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] in (["-h"], ["--help"]):
        print(usage(), end="")
        return 0
    if not args or args[0] not in COMMANDS:
        return _fail(f"unknown command {shlex.join(args[:1]) or '(none)'}; give one of {', '.join(COMMANDS)}")
    # A polite kill shall clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        config_class, run = COMMANDS[args[0]].load()
        options = normalize_args(args[1:], config_class)
        return run(draccus.parse(config_class, args=options, prog=f"{PROGRAM} {args[0]}"))
    except RecordingError as error:
        return _fail(*error.problems)
    except (DecodingError, yaml.YAMLError, OSError) as error:
        return _fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        goes_on = "; the same command goes on where this one was" if COMMANDS[args[0]].resumes else ""
        print(f"interrupted{goes_on}", file=sys.stderr)
        return _EXIT_INTERRUPTED


def normalize_args(args: Sequence[str], config_class: type) -> list[str]:
    """Brings the ways of writing an option to the one that draccus reads.

    `--keep-duplicates` and `--keep_duplicates` are the same, a switch needs no value, and text is taken literally,
    where draccus would read `--task="red: then blue"` as YAML.
    """
    types = {field.name: field.type for field in dataclasses.fields(config_class)}
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
        normalized.append(f"--{name}={_quoted(value) if is_text else value}")
    return normalized


def _quoted(text: str) -> str:
    # Not as JSON, which writes a character beyond 16 bits as two, and YAML reads them as two.
    return yaml.safe_dump(text, default_style='"', width=math.inf).strip()


def _fail(*problems: str) -> int:
    for problem in problems:
        print(f"{PROGRAM}: error: {problem}", file=sys.stderr)
    return _EXIT_USER_ERROR
