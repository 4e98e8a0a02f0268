import pytest
from hypothesis import given
from hypothesis import strategies as st

from lerobot_qwenvla.realtime.measures import Episode, Look, reaction_s, summary


def test_a_change_right_before_a_look_waits_for_its_decision_alone_one_right_after_for_the_next():
    # Looks at 0 and 1 s, decisions 0.2 s later: changes in between wait from 1.2 down to 0.2 s.
    assert reaction_s([Look(0.0, 0.2), Look(1.0, 1.2)]) == pytest.approx(0.7)


def test_one_look_tells_nothing_of_reactions():
    assert reaction_s([]) is None and reaction_s([Look(0.0, 1.0)]) is None


@given(st.lists(st.tuples(st.floats(0.01, 2), st.floats(0, 2)), min_size=2, max_size=6))
def test_reaction_is_the_mean_over_moments(spans):
    seen_s, looks = 0.0, []
    for after_s, takes_s in spans:
        seen_s += after_s
        looks.append(Look(seen_s, seen_s + takes_s))
    n = 20_000
    first_s, last_s = looks[0].seen_s, looks[-1].seen_s
    moments_s = [first_s + (last_s - first_s) * (i + 0.5) / n for i in range(n)]
    waited_s = 0.0
    i = 1
    for at_s in moments_s:
        while looks[i].seen_s < at_s:
            i += 1
        waited_s += looks[i].decided_s - at_s
    assert reaction_s(looks) == pytest.approx(waited_s / n, abs=1e-2)


def test_rows_say_how_sure_they_are_and_what_only_successes_took():
    won = Episode(True, ticks=40, stalled_ticks=10, looks=[Look(0, 0.1), Look(1, 1.1)])
    lost = Episode(False, ticks=160, stalled_ticks=0, looks=[Look(0, 0.1)])
    row = summary([won, lost], fps=10)
    assert (row["success"], row["seconds"], row["stalled"], row["actions_hz"]) == (0.5, 4.0, 0.05, 9.5)
    assert row["interval_95"][0] < 0.5 < row["interval_95"][1]
    assert (row["reaction_ms"], row["decisions"]) == (600, 1.5)


def test_nobody_who_never_arrived_took_a_time():
    assert summary([Episode(False, 10, 0, [])], fps=10)["seconds"] is None
