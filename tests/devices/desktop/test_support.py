import sys

import pytest

from lerobot_qwenvla.devices.desktop.support import NoDesktopError, require_desktop

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a desktop has a display")


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}, "Wayland session.*X11 session"),
        ({"XDG_SESSION_TYPE": "wayland", "DISPLAY": ":0"}, "Wayland session"),
        ({}, "DISPLAY is not set"),
    ],
)
def test_it_is_refused_with_a_reason(monkeypatch, environment, reason):
    for name in ("WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NoDesktopError, match=reason):
        require_desktop()


def test_an_x11_session_is_a_desktop(monkeypatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("XDG_SESSION_TYPE", "x11")
    monkeypatch.setenv("DISPLAY", ":0")
    require_desktop()


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mss", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NoDesktopError, match=r"pynput is not installed; .*\[desktop\]"):
        require_desktop()
