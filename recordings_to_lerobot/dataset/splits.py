"""Which episodes train and which test: whole sessions, by chance but repeatably, in contiguous ranges."""

import math
import random
from collections.abc import Sequence

from recordings_to_lerobot.recordings.validation import RecordingError


def check_shares(shares: dict[str, float]) -> None:
    """Raises RecordingError unless the shares of the splits are positive and add up to 1."""
    # YAML reads {train:0.9} as a name without a share.
    are_numbers = all(isinstance(share, int | float) and share > 0 for share in shares.values())
    if shares and not (are_numbers and math.isclose(sum(shares.values()), 1)):
        raise RecordingError(
            f"--splits={shares}: shares must be positive numbers that add up to 1; for example "
            "'{train: 0.9, test: 0.1}'"
        )


def assign_splits(sessions: Sequence[str], shares: dict[str, float], seed: int) -> list[str]:
    """The split of each episode, given the session of each: shuffled sessions fill the splits in turn.

    A session goes to the split that lacks most of its share at that moment, so that splits are as close to
    their shares as whole sessions allow, and every split has an episode where there are enough sessions.

    Raises:
        RecordingError: There are fewer sessions than splits.
    """
    episodes_of: dict[str, list[int]] = {}
    for i, session in enumerate(sessions):
        episodes_of.setdefault(session, []).append(i)
    if len(episodes_of) < len(shares):
        raise RecordingError(
            f"--splits={shares}: {len(episodes_of)} sessions cannot fill {len(shares)} splits; "
            "record more, or split less"
        )
    order = list(episodes_of)
    random.Random(seed).shuffle(order)
    missing = {name: share * len(sessions) for name, share in shares.items()}
    split_of: dict[int, str] = {}
    empty = set(shares)
    while order:
        session = order.pop()
        choices = empty if len(order) < len(empty) else shares
        name = max(sorted(choices), key=lambda split: missing[split])
        empty.discard(name)
        missing[name] -= len(episodes_of[session])
        split_of |= dict.fromkeys(episodes_of[session], name)
    return [split_of[i] for i in range(len(sessions))]


def ranges(splits: Sequence[str]) -> dict[str, str]:
    """LeRobot's notation, `{"train": "0:80"}`, of episodes that lie together by split."""
    result: dict[str, str] = {}
    for name in dict.fromkeys(splits):
        start = splits.index(name)
        stop = start + splits.count(name)
        assert set(splits[start:stop]) == {name}
        result[name] = f"{start}:{stop}"
    return result
