"""From recorded events to the state before each row and the action during it.

The state of a row is what is held at the instant it starts, known from the events before that instant. Its
action says where the mouse is when the row ends and which buttons and keys were down at any moment of it.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from recordings_to_lerobot.action_schema import (
    BUTTON_BITS,
    CHANNEL_INDEX,
    CHANNELS,
    KEY_CODES,
    KEY_OF_CODE,
    normalize_px,
)
from recordings_to_lerobot.events import ABSENT, KNOWN_KINDS, Events
from recordings_to_lerobot.timeline import Timeline

MouseMode = Literal["absolute", "delta"]


@dataclass(frozen=True)
class EventCounts:
    """What was found among the events of an episode, and what of it labels nothing."""

    by_kind: dict[str, int]
    unknown_kinds: int
    events_before_first_row: int  # they set the state in which the episode starts
    events_after_last_row: int
    positions_outside_canvas: int  # clipped to its edge where positions are absolute
    key_auto_repeats: int
    unmatched_key_ups: int
    keys_outside_vocabulary: int


@dataclass(frozen=True)
class EncodedEpisode:
    """Labels of the N rows of an episode, C channels each as the action schema orders them."""

    state: np.ndarray  # (N, C) float32
    action: np.ndarray  # (N, C) float32
    counts: EventCounts


@dataclass
class _Channel:
    """One button or key over time: samples of whether it is down, and presses that end at once."""

    sample_ns: list[int] = field(default_factory=list)
    down: list[bool] = field(default_factory=list)
    tap_ns: list[int] = field(default_factory=list)

    def held_at(self, time_ns: np.ndarray) -> np.ndarray:
        """Whether it is held, judged by the samples before each time.  # (N,) → (N,) bool"""
        held = np.array([False, *self.down])
        return held[np.searchsorted(self.sample_ns, time_ns, side="left")]

    def pressed_within(self, start_ns: np.ndarray, end_ns: np.ndarray) -> np.ndarray:
        """Whether anything says that it is down in [start, end).  # (N,) bool"""
        samples_ns = [t for t, down in zip(self.sample_ns, self.down, strict=True) if down]
        presses_ns = np.sort(np.array([*samples_ns, *self.tap_ns], dtype=np.int64))
        return np.searchsorted(presses_ns, end_ns, side="left") > np.searchsorted(presses_ns, start_ns, side="left")


def encode_actions(
    events: Events, event_ns: np.ndarray, timeline: Timeline, size_px: tuple[int, int], mouse: MouseMode
) -> EncodedEpisode:
    """Labels every row of `timeline` from the events at `event_ns` (E,).

    Positions are on a canvas of `size_px` (width, height). With `mouse="delta"` the mouse channels are
    movements, in canvas widths and heights: the action's during this row, the state's during the row before
    (none in the first). They come from the recorded positions without clipping, because only then do they add
    up to the way from the first position to the last.
    """
    assert len(event_ns) == len(events.tick) and np.all(event_ns[1:] >= event_ns[:-1])
    start_ns, end_ns = timeline.start_ns, timeline.end_ns
    state = np.zeros((len(timeline), len(CHANNELS)), dtype=np.float32)
    action = np.zeros_like(state)

    start_px = _positions_before(events, event_ns, start_ns, size_px)  # (N, 2)
    end_px = _positions_before(events, event_ns, end_ns, size_px)  # (N, 2)
    for axis in range(2):
        if mouse == "absolute":
            state[:, axis] = normalize_px(start_px[:, axis], size_px[axis])
            action[:, axis] = normalize_px(end_px[:, axis], size_px[axis])
        else:
            action[:, axis] = (end_px[:, axis] - start_px[:, axis]) / (size_px[axis] - 1)
            state[1:, axis] = action[:-1, axis]

    keys, key_counts = _key_channels(events, event_ns)
    for name, channel in {**_button_channels(events, event_ns), **keys}.items():
        held = channel.held_at(start_ns)  # (N,)
        state[:, CHANNEL_INDEX[name]] = held
        action[:, CHANNEL_INDEX[name]] = held | channel.pressed_within(start_ns, end_ns)

    by_kind = np.bincount(events.kind, minlength=len(events.kinds)).tolist()
    counts = EventCounts(
        by_kind=dict(zip(events.kinds, by_kind, strict=True)),
        unknown_kinds=sum(by_kind[len(KNOWN_KINDS) :]),
        events_before_first_row=int(np.count_nonzero(event_ns < start_ns[0])),
        events_after_last_row=int(np.count_nonzero(event_ns >= end_ns[-1])),
        positions_outside_canvas=_count_outside(events, size_px),
        **key_counts,
    )
    return EncodedEpisode(state, action, counts)


def _positions_before(
    events: Events, event_ns: np.ndarray, time_ns: np.ndarray, size_px: tuple[int, int]
) -> np.ndarray:
    """Last mouse position before each time (N,), the canvas centre before any.  # (N, 2) float64, pixels"""
    has_position = events.is_kind("mousemove") | events.is_kind("mouseclick")
    centre = [[(size_px[0] - 1) / 2, (size_px[1] - 1) / 2]]
    recorded = np.stack([events.x_px[has_position], events.y_px[has_position]], axis=1)
    positions = np.concatenate([centre, recorded])  # (1 + M, 2)
    return positions[np.searchsorted(event_ns[has_position], time_ns, side="left")]


def _count_outside(events: Events, size_px: tuple[int, int]) -> int:
    # Comparisons with the NaN of events without a position are false.
    x, y = events.x_px, events.y_px
    outside = (x < 0) | (x > size_px[0] - 1) | (y < 0) | (y > size_px[1] - 1)
    return int(np.count_nonzero(outside))


def _button_channels(events: Events, event_ns: np.ndarray) -> dict[str, _Channel]:
    """Moves that carry `buttons` say what is held; clicks are taps."""
    holds = events.is_kind("mousemove") & (events.buttons != ABSENT)
    clicks = events.is_kind("mouseclick")
    return {
        f"button.{name}": _Channel(
            sample_ns=event_ns[holds].tolist(),
            down=(events.buttons[holds] & bit != 0).tolist(),
            tap_ns=event_ns[clicks & (events.buttons & bit != 0)].tolist(),
        )
        for name, bit in BUTTON_BITS.items()
    }


def _key_channels(events: Events, event_ns: np.ndarray) -> tuple[dict[str, _Channel], dict[str, int]]:
    """Key channels, and the counts that only following the keys one by one can tell."""
    channels: dict[str, _Channel] = defaultdict(_Channel)
    counts = dict.fromkeys(("key_auto_repeats", "unmatched_key_ups", "keys_outside_vocabulary"), 0)
    held_codes: set[int] = set()
    key_downs = events.is_kind("keydown")
    for i in np.flatnonzero(key_downs | events.is_kind("keyup")):
        code = int(events.vk[i])
        name = KEY_OF_CODE.get(code)
        counts["keys_outside_vocabulary"] += name is None
        if key_downs[i]:
            counts["key_auto_repeats"] += code in held_codes
            held_codes.add(code)
        elif code in held_codes:
            held_codes.remove(code)
        else:
            counts["unmatched_key_ups"] += 1
            continue
        if name is not None:
            channel = channels[f"key.{name}"]
            channel.sample_ns.append(int(event_ns[i]))
            # A key with two codes, as the left and right shift, is down until both are up.
            channel.down.append(not held_codes.isdisjoint(KEY_CODES[name]))
    return channels, counts
