"""The account of a conversion: what became of every raw event and of every frame of the video."""

from dataclasses import dataclass

import numpy as np

from recordings_to_lerobot.actions.channels import ActionSpace
from recordings_to_lerobot.alignment.timeline import NO_ROW, Timeline
from recordings_to_lerobot.alignment.track import follow_switches, stuck
from recordings_to_lerobot.recordings.events import ABSENT, KNOWN_KINDS, Events
from recordings_to_lerobot.recordings.recording import TickRepair

# Why an event labels no row. The events before the first row set the state in which the episode starts.
UNUSED = (
    "before_first_row",
    "after_last_row",
    "in_gap",
    "unknown_kind",
    "no_channel",
    "key_outside_vocabulary",
    "key_auto_repeat",
    "unmatched_key_up",
    "button_unchanged",
)
# What is odd about an event that may label one nevertheless.
REPAIRED = ("position_outside_canvas", "key_never_released", "button_never_released", "released_as_stuck", "reordered")


@dataclass(frozen=True)
class EventLedger:
    """For each of the E raw events of an episode where it went; `findings` has a mask for each of its names."""

    row: np.ndarray  # (E,) int64, the row in whose interval it lies, NO_ROW outside of all
    findings: dict[str, np.ndarray]  # UNUSED and REPAIRED, each (E,) bool

    @property
    def is_used(self) -> np.ndarray:
        """Whether it labels its row.  # (E,) bool"""
        return ~np.any([self.findings[name] for name in UNUSED], axis=0) & (self.row != NO_ROW)

    def notes(self, events: slice) -> list[str]:
        """The findings of each of some events in words, empty for most."""
        notes = [""] * len(self.row[events])
        for name, mask in self.findings.items():
            for i in np.flatnonzero(mask[events]).tolist():
                notes[i] += ("; " if notes[i] else "") + name.replace("_", " ")
        return notes

    def counts(self) -> dict[str, int]:
        """How many events each finding applies to."""
        return {name: int(np.count_nonzero(mask)) for name, mask in self.findings.items()}


def account_for_events(
    events: Events,
    event_ns: np.ndarray,
    timeline: Timeline,
    size_px: tuple[int, int],
    space: ActionSpace,
    stuck_until_ns: int | None = None,
) -> EventLedger:
    """Follows every event at `event_ns` (E,) to its row; positions are on a canvas of (width, height)."""
    row = timeline.row_at(event_ns)
    is_before, is_after = event_ns < timeline.start_ns[0], event_ns >= timeline.end_ns[-1]
    is_known = events.kind < len(KNOWN_KINDS)
    is_key = events.is_kind("keydown") | events.is_kind("keyup")
    codes = [code for codes in space.key_codes.values() for code in codes]
    # Comparisons with the NaN of events without a position are false.
    x, y = events.x_px, events.y_px
    findings = {
        "before_first_row": is_before,
        "after_last_row": is_after,
        "in_gap": is_known & (row == NO_ROW) & ~is_before & ~is_after,
        "unknown_kind": ~is_known,
        "no_channel": _lacks_channel(events, space),
        "key_outside_vocabulary": is_key & ~np.isin(events.vk, codes),
        **_follow_keys(events, event_ns),
        "position_outside_canvas": (x < 0) | (x > size_px[0] - 1) | (y < 0) | (y > size_px[1] - 1),
        **_follow_buttons(events, event_ns, space),
        "released_as_stuck": np.zeros(len(events.tick), dtype=bool),
        "reordered": events.reordered,
    }
    if stuck_until_ns is not None:
        followed = follow_switches(events, event_ns)
        for control in stuck(followed, stuck_until_ns):
            findings["released_as_stuck"][followed[control].event[-1]] = True
    return EventLedger(row, {name: findings[name] for name in (*UNUSED, *REPAIRED)})


def _lacks_channel(events: Events, space: ActionSpace) -> np.ndarray:
    """Events of a known kind that could only label channels which the dataset does not have.  # (E,) bool"""
    is_move, is_click = events.is_kind("mousemove"), events.is_kind("mouseclick")
    is_relative = space.mouse == "relative"
    changes = is_click | events.is_kind("buttondown") | events.is_kind("buttonup")
    has_button = changes & (events.buttons & sum(space.button_bits.values()) != 0)
    labels_button = has_button | (is_move & (events.buttons != ABSENT))
    labels_position = (is_move | is_click) & (not is_relative)
    return (
        ((is_move | changes) & ~labels_button & ~labels_position)
        | (events.is_kind("mousedelta") & (not is_relative))
        | (events.is_kind("wheel") & ("wheel" not in space.extra))
    )


def _follow_keys(events: Events, event_ns: np.ndarray) -> dict[str, np.ndarray]:
    """What only following each key can tell."""
    names = ("key_auto_repeat", "unmatched_key_up", "key_never_released")
    masks = {name: np.zeros(len(events.tick), dtype=bool) for name in names}
    for (device, _), switch in follow_switches(events, event_ns).items():
        if device != "key":
            continue
        is_down, was_down = switch.is_down, np.append(False, switch.is_down[:-1])  # (S,)
        masks["key_auto_repeat"][switch.event[is_down & was_down]] = True
        masks["unmatched_key_up"][switch.event[~is_down & ~was_down]] = True
        if is_down[-1]:
            masks["key_never_released"][switch.event[is_down & ~was_down][-1]] = True
    return masks


def _follow_buttons(events: Events, event_ns: np.ndarray, space: ActionSpace) -> dict[str, np.ndarray]:
    """What only following each button can tell."""
    changes = np.zeros(len(events.tick), dtype=bool)
    never_released = np.zeros(len(events.tick), dtype=bool)
    for (device, bit), switch in follow_switches(events, event_ns).items():
        if device != "button" or not len(switch.event):
            continue
        if bit in space.button_bits.values():
            changes[switch.event[np.diff(switch.is_down, prepend=False)]] = True
        if switch.is_down[-1]:
            never_released[switch.event[-1]] = True
    is_single = events.is_kind("buttondown") | events.is_kind("buttonup")
    has_channel = events.buttons & sum(space.button_bits.values()) != 0
    return {"button_unchanged": is_single & has_channel & ~changes, "button_never_released": never_released}


@dataclass(frozen=True)
class FrameLedger:
    """For each of the F frames of the video which rows show it, and why none does."""

    first_row: np.ndarray  # (F,) int64, NO_ROW if none
    n_rows: np.ndarray  # (F,) int64, more than 1 where a resampled grid repeats it
    note: list[str]


def account_for_frames(
    n_frames: int, kept: np.ndarray, timeline: Timeline, before_trim: Timeline, repair: TickRepair | None
) -> FrameLedger:
    """Follows every frame to its rows: `kept` (K,) are no duplicates, `before_trim` still has the idle rows."""
    n_rows = np.bincount(timeline.frame_index, minlength=n_frames)
    first_row = np.full(n_frames, NO_ROW)
    # Assigned backwards, so that the first of several rows stays.
    first_row[timeline.frame_index[::-1]] = np.arange(len(timeline))[::-1]
    note = np.full(n_frames, "duplicate", dtype=object)
    note[kept] = "between grid points"
    note[before_trim.frame_index] = "idle"
    note[n_rows > 0] = ""
    note[n_rows > 1] = "repeated"
    notes: list[str] = note.tolist()
    for i in np.flatnonzero(repair.is_interpolated) if repair else ():
        notes[i] += ("; " if notes[i] else "") + "tick lost, taken from the video"
    return FrameLedger(first_row, n_rows, notes)


def tick_counts(repair: TickRepair | None) -> dict[str, int]:
    """How many ticks and frames were lost, where that was repaired."""
    if repair is None:
        return {}
    return {
        "frames_without_tick": int(np.count_nonzero(repair.is_interpolated)),
        "ticks_without_frame": repair.n_dropped,
    }
