import pytest
from hypothesis import given
from hypothesis import strategies as st

from recordings_to_lerobot.dataset.splits import assign_splits, check_shares, ranges
from recordings_to_lerobot.recordings.validation import RecordingError

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def test_episodes_without_sessions_are_split_by_their_shares():
    splits = assign_splits([f"episode {i}" for i in range(50)], SHARES, seed=0)
    assert {name: splits.count(name) for name in SHARES} == {"train": 40, "val": 5, "test": 5}


def test_the_seed_decides_and_nothing_else():
    sessions = [f"episode {i}" for i in range(30)]
    assert assign_splits(sessions, SHARES, 1) == assign_splits(sessions, SHARES, 1)
    assert assign_splits(sessions, SHARES, 1) != assign_splits(sessions, SHARES, 2)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=60), st.integers(0, 99))
def test_a_session_is_never_torn_apart_and_no_split_stays_empty(sessions, seed):
    if len(set(sessions)) < len(SHARES):
        return
    splits = assign_splits(sessions, SHARES, seed)
    assert set(splits) == set(SHARES)
    assert all(
        len({split for split, s in zip(splits, sessions, strict=True) if s == session}) == 1 for session in sessions
    )


def test_fewer_sessions_than_splits_are_refused():
    with pytest.raises(RecordingError, match="2 sessions cannot fill 3 splits; record more, or split less"):
        assign_splits(["a", "a", "b"], SHARES, 0)


@pytest.mark.parametrize(
    "shares", [{"train": 0.9}, {"train:0.9": None}, {"train": 1.2, "test": -0.2}, {"train": 0.9, "test": 0.2}]
)
def test_shares_that_are_no_whole_are_refused(shares):
    with pytest.raises(RecordingError, match="must be positive numbers that add up to 1"):
        check_shares(shares)


def test_ranges_are_in_lerobots_notation():
    assert ranges(["train", "train", "val"]) == {"train": "0:2", "val": "2:3"}
