"""Runs the stages of a pipeline as commands: skips what is done, shows one line of progress, keeps full logs."""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

PROGRESS_BAR = re.compile(r"\d+%\|.*\|")
LOG_LINES_SHOWN = 30


class CommandError(ValueError):
    """A stage's command ended with an error."""


@dataclass(frozen=True)
class Stage:
    """One command of the pipeline.

    Attributes:
        name: Also names the log file.
        command: Program and arguments.
        output: What the command makes; removed before it runs, unless the command goes on where it stopped.
        inputs: Files whose content the command depends on, besides what earlier stages make.
        resumes: Whether the command goes on where an interrupted run of it stopped.
        independent: Whether it needs nothing of what other stages make, and they nothing of it.
    """

    name: str
    command: list[str]
    output: Path
    inputs: tuple[Path, ...] = ()
    resumes: bool = False
    independent: bool = False


def run_stages(stages: list[Stage], folder: Path) -> dict[str, float]:
    """Runs what is not done yet, in order; returns the seconds each stage took when it ran.

    A stage is done if its output exists and it last succeeded with the same recipe: its command, its inputs, the recipe
    of the stage before it, and the version of this package. What it prints goes to `folder/logs/NAME.log`, what is done
    to `folder/stages.json`.

    Raises:
        CommandError: The message holds the end of its log.
        ValueError: Another run is at work in `folder`, or there is something in the place of an output that was not
            made by an earlier run.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", blocking=False):
            return _run_stages(stages, folder)
    except Timeout as error:
        raise ValueError(
            f"{folder}: another run is at work here; wait for it, or choose another --output_dir"
        ) from error


def _run_stages(stages: list[Stage], folder: Path) -> dict[str, float]:
    notes_path = folder / "stages.json"
    notes = json.loads(notes_path.read_text()) if notes_path.is_file() else {}
    chain = version = metadata.version("lerobot_policy_qwenvla")
    for number, stage in enumerate(stages, start=1):
        recipe = _recipe(stage, version if stage.independent else chain)
        chain = chain if stage.independent else recipe
        head = f"[{number}/{len(stages)}] {stage.name}"
        note = notes.get(stage.name, {})
        same_recipe = note.get("recipe") == recipe
        if same_recipe and note["seconds"] is not None and stage.output.exists():
            print(f"{head}: done before, in {note['seconds']:.0f} s")
            continue
        if not note and stage.output.exists():
            raise ValueError(
                f"{stage.output} exists but was not made here; move it away, or choose another --output_dir"
            )
        print(f"{head}: {shlex.join(stage.command)}", flush=True)
        if not (stage.resumes and same_recipe):
            _remove(stage.output)
        # No seconds yet, so that a killed run is not taken for a finished one.
        notes[stage.name] = {"recipe": recipe, "seconds": None}
        _write_json(notes_path, notes)
        start = time.monotonic()
        run_command(stage.command, folder / "logs" / f"{stage.name}.log")
        notes[stage.name]["seconds"] = round(time.monotonic() - start, 1)
        _write_json(notes_path, notes)
    return {stage.name: notes[stage.name]["seconds"] for stage in stages}


def _recipe(stage: Stage, before: str) -> str:
    parts = [before, *stage.command, *(path.read_text(encoding="utf-8") for path in stage.inputs)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _write_json(path: Path, content: dict) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=2))
    unfinished.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def run_command(command: list[str], log_path: Path) -> None:
    """Runs a command; shows its progress bars on one line, and writes all it prints to `log_path`.

    Raises:
        CommandError: The message holds the end of the log.
    """
    with log_path.open("wb") as log, tqdm(total=0, bar_format="      {desc}", leave=False) as line:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            unfinished = b""
            while chunk := process.stdout.read1():
                log.write(chunk)
                *finished, unfinished = re.split(rb"[\r\n]", unfinished + chunk)
                for text in finished:
                    if PROGRESS_BAR.search(shown := text.decode(errors="replace").strip()):
                        line.set_description_str(shown[: max(20, (line.ncols or 100) - 8)])
        except BaseException:
            # Ctrl-C has reached the command too, and it may need a moment to leave nothing half-made.
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
            raise
    if process.wait() != 0:
        end = log_path.read_text(errors="replace").replace("\r", "\n").splitlines()[-LOG_LINES_SHOWN:]
        raise CommandError("\n".join([*end, f"{Path(command[0]).name} failed; the whole log is {log_path}"]))


def program(name: str) -> str:
    """Path of a command that was installed beside this Python.

    Raises:
        ValueError: There is no such command.
    """
    folder = Path(sys.executable).parent
    path = shutil.which(name, path=folder)
    if path is None:
        raise ValueError(f"{name} is not in {folder}; install this project again: make setup")
    return path
