import json

from lerobot_qwenvla.ablations.results import Row, Run, markdown, write_results

RUNS = [
    Run(1, 61.0, {"recorded": [True] * 9 + [False]}),
    Run(2, 119.0, {"recorded": [True] * 7 + [False] * 3}),
]
GOOD = Row("good", RUNS)


def test_a_row_has_the_mean_of_its_runs_and_each_of_them():
    lines = markdown([GOOD]).splitlines()
    assert lines[2] == "| good | 80% (58–92) | 90% / 70% | 1 / 2 |"


def test_a_row_that_failed_says_so():
    table = markdown(
        [GOOD, Row("bad", failed="seed 1: out of memory"), Row("half", GOOD.runs[:1], "seed 2: full disk")]
    )
    assert "| bad | failed |  |  |" in table
    assert "| half | 90% (60–98) | 90%, then failed | 1 |" in table
    assert "bad failed: seed 1: out of memory\nhalf failed: seed 2: full disk\n" in table


def test_rows_that_are_still_to_come_are_open():
    assert "| later | – |  |  |" in markdown([GOOD, Row("later")])


def test_all_is_written(tmp_path):
    write_results([GOOD], {"task": "OneRoom"}, tmp_path / "results")
    assert (tmp_path / "results.md").read_text() == markdown([GOOD])
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["task"] == "OneRoom"
    assert written["rows"][0]["over_all_runs"]["recorded"] == {"success": 0.8, "interval_95": [0.584, 0.919]}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
