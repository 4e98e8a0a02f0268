"""The two kinds of mouse that a desktop knows: where its cursor is, or how far that moved."""

from recordings_to_lerobot.actions.channels import ActionSpace

MOUSE_MODES = ("absolute", "delta")


def channels_of(mouse: str) -> tuple[str, ...]:
    """Channels of state and action with this kind of mouse.

    Raises:
        ValueError: There is no such kind.
    """
    if mouse not in MOUSE_MODES:
        raise ValueError(f"the mouse must be one of {', '.join(MOUSE_MODES)}, not {mouse!r}")
    return ActionSpace(mouse=mouse).channels
