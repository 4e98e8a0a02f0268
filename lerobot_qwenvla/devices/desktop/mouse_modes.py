"""The two kinds of mouse a game may have."""

from typing import get_args

from recordings_to_lerobot.actions.channels import MouseMode, channel_names


def channels_of(mouse: str) -> tuple[str, ...]:
    """Channels of state and action with this kind of mouse.

    Raises:
        ValueError: There is no such kind.
    """
    if mouse not in get_args(MouseMode):
        raise ValueError(f"the mouse must be one of {', '.join(get_args(MouseMode))}, not {mouse!r}")
    return channel_names(mouse)
