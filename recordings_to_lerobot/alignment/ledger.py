"""The account of a conversion: what became of every raw event and of every frame of the video."""

from dataclasses import dataclass

import numpy as np

from recordings_to_lerobot.actions.vocabulary import KeyCodes
from recordings_to_lerobot.alignment.timeline import Timeline
from recordings_to_lerobot.alignment.track import follow_switches
from recordings_to_lerobot.recordings.events import ABSENT, KNOWN_KINDS, Events

NO_ROW = -1

# Why an event labels no row. The events before the first row set the state in which the episode starts.
UNUSED = (
    "before_first_row",
    "after_last_row",
    "unknown_kind",
    "key_outside_vocabulary",
    "key_auto_repeat",
    "unmatched_key_up",
)
# What is odd about an event that may label one nevertheless.
REPAIRED = ("position_outside_canvas", "key_never_released", "button_never_released", "reordered")


@dataclass(frozen=True)
class EventLedger:
    """For each of the E raw events of an episode where it went; `findings` has a mask for each of its names."""

    row: np.ndarray  # (E,) int64, the row in whose interval it lies, NO_ROW outside of all
    findings: dict[str, np.ndarray]  # UNUSED and REPAIRED, each (E,) bool

    @property
    def is_used(self) -> np.ndarray:
        """Whether it labels its row.  # (E,) bool"""
        return ~np.any([self.findings[name] for name in UNUSED], axis=0) & (self.row != NO_ROW)

    def notes(self) -> list[str]:
        """The findings of each event in words, empty for most."""
        notes = [""] * len(self.row)
        for name, mask in self.findings.items():
            for i in np.flatnonzero(mask):
                notes[i] += ("; " if notes[i] else "") + name.replace("_", " ")
        return notes

    def counts(self) -> dict[str, int]:
        """How many events each finding applies to."""
        return {name: int(np.count_nonzero(mask)) for name, mask in self.findings.items()}


def account_for_events(
    events: Events, event_ns: np.ndarray, timeline: Timeline, size_px: tuple[int, int], key_codes: KeyCodes
) -> EventLedger:
    """Follows every event at `event_ns` (E,) to its row; positions are on a canvas of (width, height)."""
    latest = np.searchsorted(timeline.start_ns, event_ns, side="right") - 1  # (E,) -1 before the first row
    # Idle rows may be missing between two others.
    is_within = (latest >= 0) & (event_ns < timeline.end_ns[latest])
    is_key = events.is_kind("keydown") | events.is_kind("keyup")
    codes = [code for codes in key_codes.values() for code in codes]
    # Comparisons with the NaN of events without a position are false.
    x, y = events.x_px, events.y_px
    findings = {
        "before_first_row": latest == -1,
        "after_last_row": event_ns >= timeline.end_ns[-1],
        "unknown_kind": events.kind >= len(KNOWN_KINDS),
        "key_outside_vocabulary": is_key & ~np.isin(events.vk, codes),
        **_follow_keys(events, event_ns),
        "position_outside_canvas": (x < 0) | (x > size_px[0] - 1) | (y < 0) | (y > size_px[1] - 1),
        "button_never_released": _last_hold(events),
        "reordered": events.reordered,
    }
    return EventLedger(np.where(is_within, latest, NO_ROW), {name: findings[name] for name in (*UNUSED, *REPAIRED)})


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


def _last_hold(events: Events) -> np.ndarray:
    """The last event that says which buttons are held, if any still is."""
    mask = np.zeros(len(events.tick), dtype=bool)
    holds = np.flatnonzero(events.is_kind("mousemove") & (events.buttons != ABSENT))
    if holds.size and events.buttons[holds[-1]]:
        mask[holds[-1]] = True
    return mask


@dataclass(frozen=True)
class FrameLedger:
    """For each of the F frames of the video which rows show it, and why none does."""

    first_row: np.ndarray  # (F,) int64, NO_ROW if none
    n_rows: np.ndarray  # (F,) int64, more than 1 where a resampled grid repeats it
    note: list[str]


def account_for_frames(n_frames: int, kept: np.ndarray, timeline: Timeline, before_trim: Timeline) -> FrameLedger:
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
    return FrameLedger(first_row, n_rows, note.tolist())
