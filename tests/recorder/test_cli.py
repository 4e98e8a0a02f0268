import json
import sys

import pytest

from lerobot_qwenvla.recorder.cli import main


def run(tmp_path, *arguments):
    return main([f"--output={tmp_path / 'recordings'}", "--canvas=32", *arguments])


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "recordings").iterdir())


def test_episodes_are_named_by_their_seeds(tmp_path):
    assert run(tmp_path, "--episodes=2", "--first_seed=123") == 0
    assert names(tmp_path) == ["episode_000123", "episode_000124"]


def test_a_second_run_goes_on_where_the_first_ended(tmp_path, capsys):
    run(tmp_path, "--episodes=1")
    video = tmp_path / "recordings" / "episode_000000" / "video.mp4"
    written_ns = video.stat().st_mtime_ns
    assert run(tmp_path, "--episodes=2") == 0
    assert "1 were there already" in capsys.readouterr().out
    assert names(tmp_path) == ["episode_000000", "episode_000001"]
    assert video.stat().st_mtime_ns == written_ns


def test_option_names_may_be_spelled_with_hyphens(tmp_path):
    assert run(tmp_path, "--episodes=1", "--first-seed=7") == 0
    meta = json.loads((tmp_path / "recordings" / "episode_000007" / "meta.json").read_text())
    assert (meta["seed"], meta["canvas_w"], meta["canvas_h"]) == (7, 32, 32)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--task=NoRoom", "Known tasks: FourRooms, GoToObject,"),
        ("--canvas=4", "at least 16"),
        ("--canvas=wide", "`canvas`"),
        ("--canvas=[32", "expected ',' or ']'"),
        ("--episodes=0", "--episodes must be at least 1"),
        ("--first-seed=-1", "--first_seed must not be negative"),
        ("--player=nobody", "--player must be scripted or human, not 'nobody'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, capsys, argument, message):
    assert run(tmp_path, argument) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "recordings").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a desktop system always has a display")
def test_a_person_needs_a_display(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    assert run(tmp_path, "--player=human") == 2
    error = capsys.readouterr().err
    assert "DISPLAY is not set; run this in a terminal of the desktop" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "recordings").exists()


def test_output_is_required(capsys):
    assert main([]) == 2
    assert "output" in capsys.readouterr().err


def test_recordings_of_another_canvas_are_not_mixed_in(tmp_path, capsys):
    run(tmp_path, "--episodes=1")
    capsys.readouterr()
    assert run(tmp_path, "--episodes=1", "--canvas=48") == 2
    assert "32x32, not OneRoom at 48x48" in capsys.readouterr().err


def test_folders_of_other_origin_are_left_alone(tmp_path, capsys):
    (tmp_path / "recordings" / "episode_000000").mkdir(parents=True)
    assert run(tmp_path, "--episodes=1") == 2
    assert "is not an episode" in capsys.readouterr().err


def test_several_tasks_are_recorded_in_one_go_and_say_what_they_are(tmp_path, capsys):
    assert run(tmp_path, "--task=OneRoom,Sign", "--episodes=1", "--keep_failures=true") == 0
    assert names(tmp_path) == ["OneRoom", "Sign"]
    for task in ("OneRoom", "Sign"):
        meta = json.loads((tmp_path / "recordings" / task / "episode_000000" / "meta.json").read_text())
        assert (meta["env_task"], meta["seed"]) == (task, 0)
    capsys.readouterr()
    assert run(tmp_path, "--task=OneRoom,Sign", "--episodes=1") == 0
    assert "2 were there already" in capsys.readouterr().out
