"""Recorders that now and then write down what is held: their notes show which presses and releases went missing."""

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from recordings_to_lerobot.importers.neutral import NS_PER_MS

# A state is polled in one thread, events arrive in another: so close to each other, either may come first.
SETTLED_NS = 100 * NS_PER_MS

# Either, left and right of one key: events name one of them, states may name two at once.
_SIDES = {0xA0: 0x10, 0xA1: 0x10, 0xA2: 0x11, 0xA3: 0x11, 0xA4: 0x12, 0xA5: 0x12}


class Change(NamedTuple):
    """A key or button goes down or up."""

    ns: int
    code: int
    is_down: bool
    line: int


class HeldState(NamedTuple):
    """All that is held at a moment."""

    ns: int
    codes: frozenset[int]
    line: int


def missing_changes(changes: Sequence[Change], states: Iterable[HeldState]) -> list[Change]:
    """What must have happened between `changes`, in order of time, for the `states` to be as they are.

    A key that has an event within `SETTLED_NS` of a state is not judged by it.
    """
    times: defaultdict[int, list[int]] = defaultdict(list)
    for change in changes:
        times[_key(change.code)].append(change.ns)
    missing: list[Change] = []
    held: set[int] = set()
    upcoming = iter(changes)
    following = next(upcoming, None)
    for state in sorted(states):
        while following is not None and following.ns <= state.ns:
            (held.add if following.is_down else held.discard)(following.code)
            following = next(upcoming, None)
        stated = {_key(code) for code in state.codes}
        tracked = {_key(code) for code in held}
        for key in sorted(stated ^ tracked):
            if not _is_settled(times[key], state.ns):
                continue
            if key in stated:
                # The code that tells left from right, if there is one.
                codes = [max(code for code in state.codes if _key(code) == key)]
                held.update(codes)
            else:
                codes = sorted(code for code in held if _key(code) == key)
                held.difference_update(codes)
            missing += [Change(state.ns, code, key in stated, state.line) for code in codes]
    return missing


def _key(code: int) -> int:
    return _SIDES.get(code, code)


def _is_settled(times_ns: list[int], ns: int) -> bool:
    nearest = bisect.bisect_left(times_ns, ns - SETTLED_NS)
    return nearest == len(times_ns) or times_ns[nearest] > ns + SETTLED_NS
