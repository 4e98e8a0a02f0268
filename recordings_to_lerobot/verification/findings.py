"""What a verification has found: counts of what was compared, and lines about what is wrong."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

# Failures told one by one; of more of a kind in an episode only the number.
MAX_LINES = 10


class Findings:
    """Counts what was compared, and says what was wrong."""

    def __init__(self, place: str = ""):
        """`place` begins every line about a failure."""
        self._place = place
        self.passed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.lines: list[str] = []
        self.worst: dict[str, tuple[float, str]] = {}  # how bad, and in words

    def add(self, other: "Findings") -> None:
        """Takes over what another has found."""
        self.passed += other.passed
        self.failed += other.failed
        self.lines += other.lines
        for check, count in other.failed.items():
            if count > MAX_LINES:
                self.lines.append(f"{check}: {other._place}and {count - MAX_LINES:,} more")
        for check, (badness, words) in other.worst.items():
            self.note_worst(check, badness, words)

    def note_worst(self, check: str, badness: float, words: str) -> None:
        """Keeps the worst value of a check."""
        if check not in self.worst or badness > self.worst[check][0]:
            self.worst[check] = badness, words

    def fail(self, check: str, problem: str) -> None:
        """Something is wrong."""
        self.failed[check] += 1
        if self.failed[check] <= MAX_LINES:
            self.lines.append(f"{check}: {self._place}{problem}")

    def expect(self, check: str, is_right: bool, problem: str) -> None:
        """Something must be right, or else the problem is told."""
        if is_right:
            self.passed[check] += 1
        else:
            self.fail(check, problem)

    def compare(
        self, check: str, unit: str, ids: Sequence, got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
    ) -> None:
        """Columns (N,) of the units `ids` (N,) must be as expected; NaN equals NaN."""
        names = list(expected)
        wrong = np.stack([_differ(got[name], expected[name]) for name in names])  # (columns, N)
        is_wrong = wrong.any(axis=0)  # (N,)
        self.passed[check] += int(np.count_nonzero(~is_wrong))
        for i in np.flatnonzero(is_wrong).tolist():
            name = names[wrong[:, i].argmax()]
            self.fail(check, f"{unit} {ids[i]}: {name} is {got[name][i]}, expected {expected[name][i]}")

    def compare_once(
        self, check: str, unit: str, got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
    ) -> None:
        """The same for rows in any order; the first column names the units, each of which must be there once."""
        key = next(iter(expected))
        wanted = expected[key]
        found, place, times = np.unique(got[key], return_index=True, return_counts=True)
        for name in np.setdiff1d(wanted, found).tolist():
            self.fail(check, f"{unit} {name} is missing")
        for name in np.setdiff1d(found, wanted).tolist():
            self.fail(check, f"{unit} {name} is not in the recording")
        for name in found[times > 1].tolist():
            self.fail(check, f"{unit} {name} is there more than once")
        is_there = np.isin(wanted, found[times == 1])
        rows = place[np.searchsorted(found, wanted[is_there])]
        got = {name: got[name][rows] for name in expected}
        self.compare(check, unit, wanted[is_there], got, {name: column[is_there] for name, column in expected.items()})


def _differ(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return (got != expected) & ((got == got) | (expected == expected))
