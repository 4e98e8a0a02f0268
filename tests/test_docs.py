"""The pages of docs/ do what they say: every command runs, in the order of the page, every example is valid."""

import contextlib
import re
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from lerobot.datasets import video_utils

from recordings_to_lerobot.recordings.events import read_events
from tests.recordings_to_lerobot.importers.foreign_recordings import (
    write_ducktrack_example,
    write_owamcap_example,
    write_owl_example,
    write_vpt_example,
)
from tests.virtual_screen import Game, virtual_desktop

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
SCRIPTS = {script.name: script for script in entry_points(group="console_scripts")}
# What a page's reader has already: recordings of the recorder it is about.
RECORDINGS = {
    "owamcap.md": write_owamcap_example,
    "owl-control.md": write_owl_example,
    "vpt.md": write_vpt_example,
    "ducktrack.md": write_ducktrack_example,
}
# What needs the Hub ends, where there is none, with one line that says so.
NEEDS_HUB = "recordings-to-lerobot push"
# Plays and records a window of the desktop.
NEEDS_DESKTOP = "devices.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def commands(block: str) -> list[list[str]]:
    """The words of each command of a block, as the shell understands them."""
    named = "".join(f'{name}() {{ printf "%s\\0" {name} "$@"; printf "\\n\\0"; }}\n' for name in SCRIPTS)
    shell = subprocess.run(["bash", "-euc", named + block], capture_output=True, text=True, check=True)
    return [command.split("\0")[:-1] for command in shell.stdout.split("\n\0")[:-1]]


def run_here(command: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of a command that runs in this process: a new one would import LeRobot again, which takes seconds."""
    monkeypatch.setattr(sys, "argv", command)
    AcceleratorState._reset_state(reset_partial_state=True)  # of another page's lerobot-train
    # A file that is open here would be read by all worker processes of this command, each from where another stopped.
    video_utils._default_decoder_cache.clear()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return SCRIPTS[command[0]].load()() or 0
    except SystemExit as exit_:
        return exit_.code or 0
    finally:
        signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def desktop(page, tmp_path_factory):
    if page.name == NEEDS_DESKTOP:
        with virtual_desktop(tmp_path_factory.mktemp("screen")), contextlib.closing(Game()):
            yield
    else:
        yield


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("desktop")
def test_every_command_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if page.name in RECORDINGS:
        RECORDINGS[page.name](tmp_path / "recordings" / "one")
    for command in [command for block in blocks(page, "bash") for command in commands(block)]:
        exit_code = run_here(command, monkeypatch)
        errors = capsys.readouterr().err
        if " ".join(command).startswith(NEEDS_HUB):
            assert exit_code == 2 and "recordings-to-lerobot: error: " in errors
        else:
            assert exit_code == 0, f"{command}: {errors}"


def test_example_events_are_valid(tmp_path):
    path = tmp_path / "events.jsonl"
    [example] = blocks(DOCS / "recording-format.md", "json")
    path.write_text(example, encoding="utf-8")
    assert len(read_events(path).tick) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_other_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
