"""From recorded events to the state before each row and the action during it.

The state of a row is what is held at the instant it starts, known from the events before that instant. Its
action says where the mouse is when the row ends and which buttons and keys were down at any moment of it.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from recordings_to_lerobot.actions.channels import BUTTON_BITS, MouseMode, channel_names
from recordings_to_lerobot.actions.encoding import normalize_px
from recordings_to_lerobot.actions.vocabulary import KEY_CODES, KeyCodes
from recordings_to_lerobot.alignment.timeline import Timeline
from recordings_to_lerobot.recordings.events import ABSENT, Events


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
    events: Events,
    event_ns: np.ndarray,
    timeline: Timeline,
    size_px: tuple[int, int],
    mouse: MouseMode,
    key_codes: KeyCodes = KEY_CODES,
) -> tuple[np.ndarray, np.ndarray]:
    """State and action of every row of `timeline`, from the events at `event_ns` (E,).

    Positions are on a canvas of `size_px` (width, height). With `mouse="delta"` the mouse channels are
    movements, in canvas widths and heights: the action's during this row, the state's during the row before
    (none in the first). They come from the recorded positions without clipping, because only then do they add
    up to the way from the first position to the last.

    Returns:
        Two arrays (N, C) float32, channels as `channel_names(mouse, key_codes)`.
    """
    assert len(event_ns) == len(events.tick) and np.all(event_ns[1:] >= event_ns[:-1])
    start_ns, end_ns = timeline.start_ns, timeline.end_ns
    channels = channel_names(mouse, key_codes)
    state = np.zeros((len(timeline), len(channels)), dtype=np.float32)
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

    pressed = {**_button_channels(events, event_ns), **_key_channels(events, event_ns, key_codes)}
    for name, channel in pressed.items():
        held = channel.held_at(start_ns)  # (N,)
        column = channels.index(name)
        state[:, column] = held
        action[:, column] = held | channel.pressed_within(start_ns, end_ns)
    return state, action


def _positions_before(
    events: Events, event_ns: np.ndarray, time_ns: np.ndarray, size_px: tuple[int, int]
) -> np.ndarray:
    """Last mouse position before each time (N,), the canvas centre before any.  # (N, 2) float64, pixels"""
    has_position = events.is_kind("mousemove") | events.is_kind("mouseclick")
    centre = [[(size_px[0] - 1) / 2, (size_px[1] - 1) / 2]]
    recorded = np.stack([events.x_px[has_position], events.y_px[has_position]], axis=1)
    positions = np.concatenate([centre, recorded])  # (1 + M, 2)
    return positions[np.searchsorted(event_ns[has_position], time_ns, side="left")]


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


def _key_channels(events: Events, event_ns: np.ndarray, key_codes: KeyCodes) -> dict[str, _Channel]:
    name_of_code = {code: name for name, codes in key_codes.items() for code in codes}
    channels: dict[str, _Channel] = defaultdict(_Channel)
    held_codes: set[int] = set()
    key_downs = events.is_kind("keydown")
    for i in np.flatnonzero(key_downs | events.is_kind("keyup")):
        code = int(events.vk[i])
        name = name_of_code.get(code)
        if name is None:
            continue
        (held_codes.add if key_downs[i] else held_codes.discard)(code)
        channel = channels[f"key.{name}"]
        channel.sample_ns.append(int(event_ns[i]))
        # A key with two codes, as the left and right shift, is down until both are up.
        channel.down.append(not held_codes.isdisjoint(key_codes[name]))
    return channels
