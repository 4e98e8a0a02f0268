"""How things are worded in the terminal and in the report alike."""

from recordings_to_lerobot.inspection.clock_offset import SHIFT_STEP_MS, OffsetEstimate
from recordings_to_lerobot.inspection.episode import EpisodeSummary, Offset


def duration(seconds: float) -> str:
    """As 3.4 s, 12 min 5 s or 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, rest_minutes = divmod(minutes, 60)
    return f"{hours} h {rest_minutes} min" if hours else f"{minutes} min {rest_s} s"


def episode_offset(offset: Offset | None) -> str:
    """As +12, with a question mark where confidence is low; nothing where there is none."""
    if offset is None or offset.confidence == "none":
        return ""
    return f"{offset.offset_ms:+.0f}{'?' if offset.confidence == 'low' else ''}"


def set_offset(estimate: OffsetEstimate | None) -> str:
    """A sentence on the offset of all episodes together."""
    if estimate is None:
        return "Too little happens in the recordings to tell whether events and pictures fit together."
    if estimate.confidence == "none":
        return "Events and pictures tell too little of each other to say whether their clocks agree."
    spread = f"90 % interval {estimate.low_ms:+.0f} to {estimate.high_ms:+.0f} ms, {estimate.confidence} confidence"
    if abs(estimate.offset_ms) < SHIFT_STEP_MS:
        return f"Events and pictures fit together as they are ({spread})."
    return f"Events fit the pictures best with {estimate.offset_ms:+.0f} ms added to their times ({spread})."


def top_uses(episode: EpisodeSummary, most: int = 4) -> str:
    """The keys and buttons that are down longest, as `w 70 %`, and how many more there are."""
    named = [f"{channel_label(name)} {100 * use.held_share:.0f} %" for name, use in episode.uses.items()]
    return ", ".join(named[:most]) + (f" +{len(named) - most}" if len(named) > most else "")


def channel_label(channel: str) -> str:
    """A key or button as one would call it."""
    device, _, name = channel.partition(".")
    return f"{name} button" if device == "button" else channel if device == "wheel" else name or channel
