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
from pathlib import Path

from tqdm import tqdm

PROGRESS_BAR = re.compile(r"\d+%\|.*\|")
LOG_LINES_SHOWN = 30


@dataclass(frozen=True)
class Stage:
    """One command of the pipeline.

    Attributes:
        name: Also names the log file.
        command: Program and arguments.
        output: What the command makes; removed before it runs, unless the command goes on where it stopped.
        inputs: Files whose content the command depends on, besides what earlier stages make.
        resumes: Whether the command goes on where an interrupted run of it stopped.
    """

    name: str
    command: list[str]
    output: Path
    inputs: tuple[Path, ...] = ()
    resumes: bool = False


def run_stages(stages: list[Stage], folder: Path) -> dict[str, float]:
    """Runs what is not done yet, in order; returns the seconds each stage took when it ran.

    A stage is done if its output exists and it last succeeded with the same recipe: its command, its inputs, and the
    recipe of the stage before it. What it prints goes to `folder/logs/NAME.log`, what is done to `folder/stages.json`.

    Raises:
        ValueError: A command failed; the message holds the end of its log.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    notes_path = folder / "stages.json"
    notes = json.loads(notes_path.read_text()) if notes_path.is_file() else {}
    recipe = ""
    for number, stage in enumerate(stages, start=1):
        parts = [recipe, *stage.command, *(path.read_text() for path in stage.inputs)]
        recipe = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        head = f"[{number}/{len(stages)}] {stage.name}"
        if stage.output.exists() and notes.get(stage.name, {}).get("recipe") == recipe:
            print(f"{head}: done before, in {notes[stage.name]['seconds']:.0f} s")
            continue
        print(f"{head}: {shlex.join(stage.command)}", flush=True)
        if not stage.resumes:
            _remove(stage.output)
        # Noted as done no longer, so that a killed run is not taken for a finished one.
        notes.pop(stage.name, None)
        _write_json(notes_path, notes)
        start = time.monotonic()
        _run(stage.command, folder / "logs" / f"{stage.name}.log")
        notes[stage.name] = {"recipe": recipe, "seconds": round(time.monotonic() - start, 1)}
        _write_json(notes_path, notes)
    return {stage.name: notes[stage.name]["seconds"] for stage in stages}


def _write_json(path: Path, content: dict) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=2))
    unfinished.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _run(command: list[str], log_path: Path) -> None:
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
            process.terminate()
            process.wait()
            raise
    if process.wait() != 0:
        end = log_path.read_text(errors="replace").replace("\r", "\n").splitlines()[-LOG_LINES_SHOWN:]
        raise ValueError("\n".join([*end, f"{Path(command[0]).name} failed; the whole log is {log_path}"]))


def program(name: str) -> str:
    """Path of a command that was installed beside this Python."""
    return str(Path(sys.executable).parent / name)
