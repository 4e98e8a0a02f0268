import time

import pytest

from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.workers import run_in_processes

# The work is `eval`, for a process of its own can import nothing from a test.
VALIDATION = "__import__('importlib').import_module('recordings_to_lerobot.recordings.validation')"
BAD = VALIDATION + ".require_file(__import__('pathlib').Path('nowhere'))"
DEADLY = "__import__('os').kill(__import__('os').getpid(), 9)"
SLOW = "__import__('time').sleep(60)"


def test_results_and_refusals_come_with_their_items():
    results = dict(run_in_processes(eval, ["1 + 1", BAD, "2 + 2"], workers=2))
    assert (results["1 + 1"], results["2 + 2"]) == (2, 4)
    assert results[BAD].problems == ("nowhere: missing; re-export the recording, or remove its folder",)


@pytest.mark.parametrize("workers", [1, 2])
def test_item_that_kills_its_process_is_the_only_one_lost(workers):
    results = dict(run_in_processes(eval, ["1", DEADLY, "2", "3", "4"], workers))
    assert isinstance(results.pop(DEADLY), RecordingError)
    assert results == {"1": 1, "2": 2, "3": 3, "4": 4}


def test_after_a_death_the_rest_shares_processes_again():
    items = [DEADLY, *(f"(__import__('os').getpid(), {number})" for number in range(12))]
    results = dict(run_in_processes(eval, items, workers=2))
    assert isinstance(results.pop(DEADLY), RecordingError)
    assert sorted(number for _, number in results.values()) == list(range(12))
    # Of the first pool two, one for each of two other suspects, of the second pool two.
    assert len({process for process, _ in results.values()}) <= 6


def test_no_items_need_no_process():
    assert list(run_in_processes(eval, [], workers=None)) == []


def test_leaving_early_does_not_wait_for_work_in_progress():
    started_s = time.monotonic()
    results = run_in_processes(eval, ["1", SLOW], workers=2)
    assert next(results) == ("1", 1)
    results.close()
    assert time.monotonic() - started_s < 30
