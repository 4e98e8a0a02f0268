"""Whether this desktop lets a program see its screen and use its mouse and keyboard."""

import importlib.util
import os
import sys


class NoDesktopError(RuntimeError):
    """This desktop cannot be watched or controlled."""


def require_desktop() -> None:
    """Refuse at once where pynput or mss would fail or, worse, silently do nothing.

    Raises:
        NoDesktopError: The message says what is in the way, and what to do.
    """
    for package in ("pynput", "mss"):
        if importlib.util.find_spec(package) is None:
            raise NoDesktopError(
                f"{package} is not installed; install it with: pip install 'lerobot_policy_qwenvla[desktop]'"
            )
    if not sys.platform.startswith("linux"):
        return
    if os.environ.get("WAYLAND_DISPLAY") or os.environ.get("XDG_SESSION_TYPE", "").lower() == "wayland":
        raise NoDesktopError(
            "This is a Wayland session, which lets no program watch or move mouse and keyboard of another; "
            "log in to an X11 session (often called “on Xorg”)."
        )
    if not os.environ.get("DISPLAY"):
        raise NoDesktopError("There is no display: DISPLAY is not set; run this in a terminal of the desktop.")


def require_trust(listener) -> None:
    """Raises NoDesktopError if a pynput listener that has started is not allowed to hear anything (macOS)."""
    if sys.platform == "darwin" and not listener.IS_TRUSTED:
        raise NoDesktopError(
            "macOS does not let this program watch the keyboard; allow the terminal under System Settings, "
            "Privacy & Security, both Accessibility and Input Monitoring, then start it again."
        )
