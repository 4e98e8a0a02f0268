"""The whole comparison: Miniworld in its process, LeRobot's engines and client, our server, an untrained policy."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.serving.small_policy import save_policy

PAGE = Path(__file__).parents[2] / "docs" / "async.md"
WAYS = ["sync", "async 0.5", "rtc 0.6", "rtc 1", "async 1 rtc"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_policy(tmp_path_factory.mktemp("policy") / "pretrained_model", picture_px=64)


@pytest.fixture
def run(checkpoint, tmp_path, forks):
    """The page's command with these options, in a process where the server's event loop is the only one."""
    [documented] = re.findall(r"^(qwenvla-compare-realtime .*)$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    program, _, *settings = shlex.split(documented)
    quick = ["--canvas=64", "--fps=60", "--episodes=1", "--thresholds=[0.5]", "--output_dir=out"]

    def run(*options: str, exit_code: int = 0) -> str:
        command = [program, f"--policy.path={checkpoint}", *settings, *quick, *options]
        return forks.start(command, tmp_path / "log", folder=tmp_path).wait(exit_code)

    return run


def test_every_way_plays_every_delay_once(run, tmp_path):
    def rows() -> list[dict]:
        return json.loads((tmp_path / "out/comparison.json").read_text())["rows"]

    run("--delays_ms=[0]")
    first = rows()
    assert [row["way"] for row in first] == WAYS
    assert all(row["decisions"] >= 2 and row["actions_hz"] > 0 and row["reaction_ms"] > 0 for row in first)
    printed = run("--delays_ms=[0, 500]")
    assert rows()[: len(WAYS)] == first and [row["way"] for row in rows()[len(WAYS) :]] == WAYS
    fast, slow = (dict(zip(WAYS, part, strict=True)) for part in (rows()[: len(WAYS)], rows()[len(WAYS) :]))
    # Who waits for each decision stalls; who decides meanwhile reacts no sooner than a decision takes.
    assert slow["sync"]["stalled"] > fast["sync"]["stalled"]
    assert all(slow[way]["reaction_ms"] > 500 for way in WAYS)
    table = (tmp_path / "out/comparison.md").read_text()
    assert table in printed and len(table.splitlines()) == 2 + len(rows())
    assert (tmp_path / "out/comparison.png").stat().st_size > 10_000
    for other in ("--first_seed=3", "--policy.n_action_steps=2"):
        assert "other settings" in run("--delays_ms=[0]", other, exit_code=1)


def test_a_wrong_setting_is_told_in_a_line(run):
    last = run("--task=GoToObject", exit_code=1).splitlines()[-1]
    assert last.startswith("qwenvla-compare-realtime: ") and "an instruction of its own" in last


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"task": "GoToObject"}, "an instruction of its own"),
        ({"task": "NoSuchRoom"}, "NoSuchRoom"),
        ({"thresholds": [2]}, "not in"),
        ({"delays_ms": [-1]}, "below 0"),
        ({"episodes": 0}, "at least 1"),
    ],
)
def test_settings_out_of_their_range_are_refused(setting, problem):
    from lerobot_qwenvla.realtime.compare import CompareConfig

    with pytest.raises(ValueError, match=problem):
        CompareConfig(**setting).check()
