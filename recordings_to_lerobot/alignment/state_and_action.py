"""From recorded events to the state before each row and the action during it.

The state of a row is what is held at the instant it starts, known from the events before that instant. Its
action says where the mouse is when the row ends and which buttons and keys were down at any moment of it.
"""

import numpy as np

from recordings_to_lerobot.actions.channels import WHEEL_CHANNELS, ActionSpace
from recordings_to_lerobot.actions.encoding import normalize_px
from recordings_to_lerobot.alignment.timeline import NO_ROW, Timeline
from recordings_to_lerobot.alignment.track import MousePath, follow_switches
from recordings_to_lerobot.recordings.events import Events


def encode_actions(
    events: Events,
    event_ns: np.ndarray,
    timeline: Timeline,
    size_px: tuple[int, int],
    space: ActionSpace,
    release_stuck: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """State and action of every row of `timeline`, from the events at `event_ns` (E,).

    Positions are on a canvas of `size_px` (width, height). With `mouse="delta"` the mouse channels are
    movements, in canvas widths and heights: the action's during this row, the state's during the row before
    (none in the first). They come from the recorded positions without clipping, because only then do they add
    up to the way from the first position to the last. With `mouse="relative"` they are likewise sums of counts, which
    `relative.scaled` brings to [-1, 1], and so are those of the wheel, in notches. With `release_stuck`, what is stuck
    at the end comes up where it is last heard of.

    Returns:
        Two arrays (N, C) float32, with the channels of `space`.
    """
    assert len(event_ns) == len(events.tick) and np.all(event_ns[1:] >= event_ns[:-1])
    start_ns, end_ns = timeline.start_ns, timeline.end_ns
    channels = space.channels
    state = np.zeros((len(timeline), len(channels)), dtype=np.float32)
    action = np.zeros_like(state)

    mouse_path = MousePath.of(events, event_ns, size_px)
    start_px = mouse_path.position_px[mouse_path.index_before(start_ns)]  # (N, 2)
    end_px = mouse_path.position_px[mouse_path.index_before(end_ns)]  # (N, 2)
    for axis in range(2):
        if space.mouse == "absolute":
            state[:, axis] = normalize_px(start_px[:, axis], size_px[axis])
            action[:, axis] = normalize_px(end_px[:, axis], size_px[axis])
        elif space.mouse == "delta":
            action[:, axis] = (end_px[:, axis] - start_px[:, axis]) / (size_px[axis] - 1)
            state[1:, axis] = action[:-1, axis]
    if space.mouse == "relative":
        action[:, :2] = _sums(events, "mousedelta", event_ns, timeline)
        state[1:, :2] = action[:-1, :2]
    if "wheel" in space.extra:
        columns = [channels.index(channel) for channel in WHEEL_CHANNELS]
        action[:, columns] = _sums(events, "wheel", event_ns, timeline)
        state[1:, columns] = action[:-1, columns]

    followed = follow_switches(events, event_ns, int(end_ns[-1]) if release_stuck else None)
    controls = {f"button.{name}": [("button", bit)] for name, bit in space.button_bits.items()}
    controls |= {f"key.{name}": [("key", code) for code in codes] for name, codes in space.key_codes.items()}
    for name, any_of in controls.items():
        column = channels.index(name)
        # A key with two codes, as the left and right shift, is down until both are up.
        for switch in (followed[control] for control in any_of if control in followed):
            held = switch.held_at(start_ns)  # (N,)
            state[:, column] = np.maximum(state[:, column], held)
            action[:, column] = np.maximum(action[:, column], held | switch.pressed_within(start_ns, end_ns))
    return state, action


def _sums(events: Events, kind: str, event_ns: np.ndarray, timeline: Timeline) -> np.ndarray:
    """Motion of a kind during each row.  # (N, 2) float64"""
    is_kind = events.is_kind(kind)
    row = timeline.row_at(event_ns[is_kind])
    motion = np.stack([events.dx, events.dy])[:, is_kind][:, row != NO_ROW]
    return np.stack([np.bincount(row[row != NO_ROW], axis, len(timeline)) for axis in motion], axis=1)
