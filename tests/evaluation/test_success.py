import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerobot_qwenvla.evaluation.success import read_successes, success_rate, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    # Newcombe (1998), table I, and its mirror image.
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilson_interval_matches_published_values(successes, trials, expected):
    assert wilson_interval(successes, trials) == pytest.approx(expected, abs=1e-4)
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - expected[1], 1 - expected[0]), abs=1e-4)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_contains_the_rate(counts):
    successes, trials = counts
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1


def test_a_success_rate_has_its_interval():
    assert success_rate([True] * 15 + [False] * 133) == {"success": 15 / 148, "interval_95": [0.062, 0.16]}


def test_successes_are_those_of_every_episode(tmp_path):
    tasks = [{"metrics": {"successes": [True, False]}}, {"metrics": {"successes": [True]}}]
    (tmp_path / "eval_info.json").write_text(json.dumps({"per_task": tasks}))
    assert read_successes(tmp_path) == [True, False, True]
