"""What is measured of episodes in real time, and how it is summed up."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median
from typing import Any

from lerobot_qwenvla.evaluation.success import success_rate


@dataclass(frozen=True)
class Look:
    """When a decision saw what it is about, and when it was made."""

    seen_s: float
    decided_s: float


@dataclass(frozen=True)
class Episode:
    """How an episode went.

    Attributes:
        ticks: Of the world.
        stalled_ticks: How many of them passed without a new action.
        looks: Of all decisions, in their order.
    """

    success: bool
    ticks: int
    stalled_ticks: int
    looks: Sequence[Look]


def reaction_s(looks: Sequence[Look]) -> float | None:
    """How long a change of what is seen waits, on average, for the first action decided on it; None before two looks.

    A change between looks s_{i-1} and s_i is decided on at d_i. At a random moment t, the mean of d_i − t is
    Σ (s_i − s_{i-1}) · (d_i − (s_{i-1} + s_i) / 2) / Σ (s_i − s_{i-1}).
    """
    spans = [(now.seen_s - last.seen_s, now, last) for last, now in pairwise(looks)]
    total_s = sum(span_s for span_s, _, _ in spans)
    if total_s <= 0:
        return None
    return sum(span_s * (now.decided_s - (last.seen_s + now.seen_s) / 2) for span_s, now, last in spans) / total_s


def summary(episodes: Sequence[Episode], fps: float) -> dict[str, Any]:
    """Of the episodes of one way to run a policy; `seconds` is of those that reached the goal."""
    successes = [episode for episode in episodes if episode.success]
    reactions_s = [each for each in (reaction_s(episode.looks) for episode in episodes) if each is not None]
    ticks = sum(episode.ticks for episode in episodes)
    stalled = sum(episode.stalled_ticks for episode in episodes)
    return {
        "episodes": len(episodes),
        **success_rate([episode.success for episode in episodes]),
        "seconds": round(median(episode.ticks for episode in successes) / fps, 2) if successes else None,
        "reaction_ms": round(1000 * mean(reactions_s)) if reactions_s else None,
        "actions_hz": round(fps * (ticks - stalled) / ticks, 2),
        "stalled": round(stalled / ticks, 3),
        "decisions": round(mean(len(episode.looks) for episode in episodes), 1),
    }
