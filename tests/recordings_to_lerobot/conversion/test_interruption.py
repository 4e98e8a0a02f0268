"""A few of the runs that the scripts which kill and fuzz conversions make by the hundred and thousand."""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]


def run(script: str, *options: str) -> dict:
    result = subprocess.run([sys.executable, HERE / script, *options], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


def test_killed_conversions_end_as_if_they_had_not_been():
    assert run("kill_conversions.py", "--kills=4")["different"] == []


def test_damaged_recordings_are_converted_or_quarantined():
    result = run("fuzz_conversions.py", "--cases=200")
    assert result["wrong"] == []
    assert set(result["outcomes"]) >= {"converted", "quarantined"}


def test_damaged_recordings_of_other_recorders_are_converted_or_quarantined():
    result = run("fuzz_importers.py", "--cases=6")
    assert result["wrong"] == []
    assert all(set(outcomes) >= {"converted", "quarantined"} for outcomes in result["outcomes"].values())
