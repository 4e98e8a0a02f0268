from hypothesis import given
from hypothesis import strategies as st

from recordings_to_lerobot.importers.held_states import SETTLED_NS, Change, HeldState, missing_changes

SECOND = 1_000_000_000
W, SHIFT, LEFT_SHIFT = 0x57, 0x10, 0xA0


def missing(changes, states):
    return missing_changes(
        [Change(ns, code, is_down, 0) for ns, code, is_down in changes],
        [HeldState(ns, frozenset(codes), 7) for ns, codes in states],
    )


def test_states_that_agree_add_nothing():
    assert missing([(1 * SECOND, W, True), (3 * SECOND, W, False)], [(2 * SECOND, {W}), (4 * SECOND, set())]) == []


def test_lost_release_is_added_where_a_state_shows_it():
    assert missing([(1 * SECOND, W, True)], [(2 * SECOND, set())]) == [Change(2 * SECOND, W, False, 7)]


def test_key_held_since_before_the_recording_is_pressed():
    assert missing([], [(2 * SECOND, {W}), (3 * SECOND, {W})]) == [Change(2 * SECOND, W, True, 7)]


def test_state_beside_an_event_of_the_same_key_is_not_believed():
    changes = [(SECOND, W, True), (2 * SECOND, W, False)]
    assert missing(changes, [(2 * SECOND + SETTLED_NS // 2, {W})]) == []
    assert missing(changes, [(2 * SECOND - SETTLED_NS // 2, set())]) == []


def test_shift_and_left_shift_are_one_key():
    changes = [(SECOND, LEFT_SHIFT, True), (3 * SECOND, LEFT_SHIFT, False)]
    assert missing(changes, [(2 * SECOND, {SHIFT, LEFT_SHIFT}), (4 * SECOND, set())]) == []
    assert missing([], [(2 * SECOND, {SHIFT, LEFT_SHIFT})]) == [Change(2 * SECOND, LEFT_SHIFT, True, 7)]


@given(
    presses=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([W, 0x41, 0x44]), st.booleans()), max_size=20),
    states=st.lists(st.tuples(st.integers(0, 40), st.frozensets(st.sampled_from([W, 0x41, 0x44]))), max_size=8),
)
def test_with_what_was_missing_every_settled_state_is_true(presses, states):
    tenth = SECOND // 10
    changes = sorted(Change(tenth * at, code, is_down, 0) for at, code, is_down in presses)
    noted = [HeldState(tenth * at, codes, 1) for at, codes in states]
    found = missing_changes(changes, noted)
    everything = sorted([*changes, *found], key=lambda change: change.ns)
    for state in noted:
        if [other.codes for other in noted if other.ns == state.ns] != [state.codes]:
            continue  # two states of one moment contradict each other
        for code in (W, 0x41, 0x44):
            if any(change.code == code and abs(change.ns - state.ns) <= SETTLED_NS for change in changes):
                continue
            down = [change.is_down for change in everything if change.code == code and change.ns <= state.ns]
            assert bool(down and down[-1]) == (code in state.codes)
