"""The whole comparison: Miniworld in its process, LeRobot's engines and client, our server, an untrained policy."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from lerobot_qwenvla.realtime import compare
from tests.serving.small_policy import save_policy

PAGE = Path(__file__).parents[2] / "docs" / "async.md"
WAYS = ["sync", "async 0.5", "rtc"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_policy(tmp_path_factory.mktemp("policy") / "pretrained_model", picture_px=64)


@pytest.fixture
def run(checkpoint, tmp_path, monkeypatch):
    """With these options; what it has written."""
    monkeypatch.chdir(tmp_path)  # LeRobot's client writes logs where it is started

    def run(*options: str) -> dict:
        [documented] = re.findall(r"^(qwenvla-compare-realtime .*)$", PAGE.read_text(encoding="utf-8"), flags=re.M)
        program, _, *settings = shlex.split(documented)
        quick = ["--canvas=64", "--fps=60", "--episodes=1", "--thresholds=[0.5]", "--output_dir=out"]
        monkeypatch.setattr(sys, "argv", [program, f"--policy.path={checkpoint}", *settings, *quick, *options])
        compare.main()
        return json.loads((tmp_path / "out/comparison.json").read_text())

    return run


def test_every_way_plays_every_delay_once(run, tmp_path, capsys):
    first = run("--delays_ms=[0]")["rows"]
    assert [row["way"] for row in first] == WAYS
    assert all(row["decisions"] >= 2 and row["actions_hz"] > 0 and row["reaction_ms"] > 0 for row in first)
    rows = run("--delays_ms=[0, 500]")["rows"]
    assert rows[:3] == first and [row["way"] for row in rows[3:]] == WAYS
    fast, slow = (dict(zip(WAYS, part, strict=True)) for part in (rows[:3], rows[3:]))
    # Who waits for each decision stalls; who decides meanwhile reacts no sooner than a decision takes.
    assert slow["sync"]["stalled"] > fast["sync"]["stalled"]
    assert all(slow[way]["reaction_ms"] > 500 for way in WAYS)
    table = (tmp_path / "out/comparison.md").read_text()
    assert table in capsys.readouterr().out and len(table.splitlines()) == 2 + len(rows)
    assert (tmp_path / "out/comparison.png").stat().st_size > 10_000
    with pytest.raises(SystemExit, match="other settings"):
        run("--delays_ms=[0]", "--first_seed=3")


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("--task=GoToObject", "an instruction of its own"),
        ("--task=NoSuchRoom", "NoSuchRoom"),
        ("--thresholds=[2]", "not in"),
        ("--delays_ms=[-1]", "below 0"),
        ("--episodes=0", "at least 1"),
    ],
)
def test_wrong_settings_are_told_in_a_line(run, option, problem):
    with pytest.raises(SystemExit, match=problem):
        run(option)
