"""The command as a user runs it, and what it leaves on the disk."""

import io
import json
import re
from pathlib import Path
from urllib.parse import unquote

import av
import pytest
from rich.console import Console

from recordings_to_lerobot.actions.vocabulary import KEY_CODES
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.cli import main
from recordings_to_lerobot.commands import inspect_recordings as command
from recordings_to_lerobot.commands.inspect_recordings import InspectConfig, run
from recordings_to_lerobot.inspection import output
from recordings_to_lerobot.inspection.folder import inspect_folder
from recordings_to_lerobot.inspection.terminal import MAX_EPISODES, render
from recordings_to_lerobot.recordings.validation import RecordingError
from tests.recordings_to_lerobot.raw_recordings import make_recording, messy_ticks_and_events, regular_ticks


@pytest.fixture
def recordings(tmp_path) -> Path:
    """Three good ones, of which one has markup in its name and instruction, and a bad one."""
    folder = tmp_path / "raw"
    make_recording(folder / "day 1" / "2", *messy_ticks_and_events(1))
    make_recording(folder / "day 1" / "10", *messy_ticks_and_events(2))
    make_recording(folder / "[b]<i>x", *messy_ticks_and_events(3), task="<script>alert(1)</script> [bold]")
    bad = make_recording(folder / "cut", *messy_ticks_and_events(4))
    (bad.folder / "frame_ts.bin").write_bytes(b"abc")
    return folder


def inspect(recordings: Path, *names: str, **options) -> int:
    return run(InspectConfig(input=recordings.joinpath(*names), workers=1, **options))


def test_it_is_a_command(recordings, capsys):
    assert (
        main(["inspect", "--input", str(recordings / "day 1"), "--repair=[order]", "--idle=trim", "--workers=1"]) == 0
    )
    assert main(["inspect", "--input", str(recordings / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def printed(folder: Path, width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(render(inspect_folder(folder, LabelOptions(), KEY_CODES, workers=1), width))
    return text.getvalue().splitlines()


def test_a_bad_recording_is_a_line_and_an_exit_code(recordings, capsys):
    assert inspect(recordings) == 1
    shown = capsys.readouterr().out
    assert "1 recording cannot be converted" in shown
    assert "cut/frame_ts.bin: 3 bytes" in shown
    assert "day 1/10" in shown and "[b]<i>x" in shown
    assert inspect(recordings, "day 1") == 0
    assert not list(recordings.parent.glob("*partial*"))


def test_a_folder_with_nothing_good_in_it(recordings, tmp_path, capsys):
    assert inspect(recordings, "cut", output=tmp_path / "out") == 1
    assert "frame_ts.bin: 3 bytes" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(RecordingError, match="no such folder"):
        inspect(recordings, "nowhere")


def test_one_recording_by_itself(recordings, tmp_path):
    assert inspect(recordings, "day 1", "2", output=tmp_path / "out", overlays=0) == 0
    assert [e["source"] for e in json.loads((tmp_path / "out" / "episodes.json").read_text())["episodes"]] == ["2"]


def test_a_recording_of_next_to_nothing(tmp_path):
    events = [{"ts": 0, "kind": "focus"}]
    make_recording(tmp_path / "raw" / "1", regular_ticks(1), events, task=None)
    assert inspect(tmp_path, "raw", output=tmp_path / "out", overlays=1) == 0
    assert "no instruction" in (tmp_path / "out" / "report.html").read_text()


def test_the_report_is_whole_and_by_itself(recordings, tmp_path):
    out = tmp_path / "new" / "out"
    assert inspect(recordings, output=out, overlays=2) == 1
    page = (out / "report.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    videos = [unquote(address) for address in addresses if not address.startswith(("data:", "#"))]
    assert len(videos) == page.count("<video") == 2 and all((out / video).is_file() for video in videos)
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert "day 1/10" in page and "cut/frame_ts.bin: 3 bytes" in page
    assert page.count("<svg") == 5  # too short for the clock, and nobody idles
    numbers = json.loads((out / "episodes.json").read_text())
    assert [episode["source"] for episode in numbers["episodes"]] == ["[b]<i>x", "day 1/2", "day 1/10"]
    assert list(numbers["problems"]) == ["cut"]
    assert numbers["totals"]["rows"] == sum(episode["rows"] for episode in numbers["episodes"])
    with av.open(out / videos[0]) as container:
        assert sum(1 for _ in container.decode(video=0)) == numbers["episodes"][0]["rows"]
    assert sorted(path.name for path in out.iterdir()) == ["episodes.json", "overlays", "report.html"]


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A folder that looks as if it held a report."""
    (tmp_path / "out" / "overlays").mkdir(parents=True)
    (tmp_path / "out" / "report.html").write_text("earlier")
    return tmp_path / "out"


def test_an_earlier_report_is_replaced(recordings, earlier):
    inspect(recordings, "day 1", output=earlier, overlays=0)
    assert sorted(path.name for path in earlier.iterdir()) == ["episodes.json", "report.html"]
    assert (earlier / "report.html").read_text() != "earlier"


def test_a_folder_with_anything_else_in_it_is_left_alone(recordings, earlier, monkeypatch):
    monkeypatch.setattr(command, "inspect_folder", lambda *_: pytest.fail("work was done"))
    (earlier / "notes.txt").write_text("mine")
    with pytest.raises(RecordingError, match="something else than an earlier report"):
        inspect(recordings, "day 1", output=earlier)
    assert (earlier / "notes.txt").read_text() == "mine"


def test_a_failure_leaves_the_earlier_report(recordings, earlier, monkeypatch):
    def fail(*_):
        raise RecordingError("changed meanwhile")

    monkeypatch.setattr(output, "render_report", fail)
    with pytest.raises(RecordingError, match="changed meanwhile"):
        inspect(recordings, output=earlier, overlays=0)
    assert (earlier / "report.html").read_text() == "earlier"
    assert not list(earlier.parent.glob(".*"))


def test_settings_that_make_no_sense_are_refused_first(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "inspect_folder", lambda *_: pytest.fail("work was done"))
    with pytest.raises(RecordingError, match="--overlays=-1"):
        inspect(recordings, overlays=-1)
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="give another --output"):
        inspect(recordings, output=tmp_path / "file")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_the_terminal(recordings, width):
    lines = printed(recordings, width)
    assert max(map(len, lines)) <= width
    if width == 120:
        assert sum("day 1/" in line for line in lines) == 2


def test_many_episodes_are_summed_up(tmp_path, monkeypatch):
    monkeypatch.setattr("recordings_to_lerobot.inspection.terminal.MAX_EPISODES", 2)
    for number in range(3):
        make_recording(tmp_path / f"episode {number}", *messy_ticks_and_events(number, n_frames=10 + number))
    lines = printed(tmp_path, 120)
    assert any("3 episodes" in line for line in lines)
    assert any("lowest" in line and "highest" in line for line in lines)
    assert MAX_EPISODES == 40
