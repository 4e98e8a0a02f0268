import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lerobot_qwenvla.miniworld import system_packages
from lerobot_qwenvla.miniworld.system_packages import FFMPEG_LIBRARIES, OPENGL, Need, loads, main

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is nothing to check elsewhere")


def need(is_there: bool, is_required: bool) -> Need:
    return Need("Coffee", "nobody works", ("coffee", "milk"), lambda: is_there, is_required)


@pytest.fixture
def apt_get(tmp_path, monkeypatch):
    """The only program there is: it notes what it is asked for, and each word of that becomes a file beside it."""
    path = tmp_path / "apt-get"
    path.write_text(f'#!/bin/sh\ncd {tmp_path}\necho "$@" >> asked\nfor word; do : > "$word"; done\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return path


@on_linux
def test_a_library_is_there_if_it_loads():
    assert loads("libc.so.6")
    assert not loads("no-such-library.so.1")


def test_the_remedy_says_what_is_lost_and_is_one_command(apt_get):
    assert OPENGL.remedy() == (
        "OpenGL (libEGL, libGL, libGLU) is missing; without it Miniworld cannot draw. "
        "Install with: sudo sh -c 'apt-get update; apt-get install -y libegl1 libgl1 libglu1-mesa'"
    )


def test_without_apt_get_the_remedy_names_no_command(apt_get):
    apt_get.unlink()
    assert OPENGL.remedy().endswith("cannot draw. Install the packages of your system that hold it.")


@on_linux
@pytest.mark.parametrize("is_root", [True, False])
def test_what_is_missing_is_installed_where_that_is_allowed(apt_get, monkeypatch, is_root):
    monkeypatch.setattr(os, "geteuid", lambda: 0 if is_root else 1000)
    coffee = Need("Coffee", "nobody works", ("coffee", "milk"), apt_get.with_name("milk").exists, is_required=True)
    assert main(["--install"], needs=[coffee, need(True, True)]) == (0 if is_root else 1)
    asked = apt_get.with_name("asked")
    assert (asked.read_text() if asked.exists() else "") == ("update\ninstall -y coffee milk\n" if is_root else "")


@on_linux
def test_an_installation_that_fails_is_named(apt_get, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    apt_get.write_text("#!/bin/sh\nexit 100\n")
    assert main(["--install"], needs=[need(False, True)]) == 1
    assert "`apt-get install -y coffee milk` failed with exit code 100." in capsys.readouterr().err


@on_linux
@pytest.mark.parametrize(("is_required", "exit_code"), [(True, 1), (False, 0)])
def test_what_is_missing_is_named_and_a_failure_only_if_required(capsys, is_required, exit_code):
    assert main([], needs=[need(False, is_required), need(True, True)]) == exit_code
    assert capsys.readouterr().err.count("Coffee is missing; without it nobody works.") == 1


def test_what_is_there_is_nothing_to_do(capsys):
    assert main([], needs=[need(True, True)]) == 0
    assert capsys.readouterr().err == ""


@on_linux
def test_ffmpeg_is_looked_for_in_the_versions_that_torchcodec_loads():
    torchcodec = Path(importlib.util.find_spec("torchcodec").origin).parent
    binaries = [path.read_bytes() for path in torchcodec.glob("libtorchcodec_core*.so")]
    needed = {library.decode() for binary in binaries for library in re.findall(rb"libavdevice\.so\.\d+", binary)}
    assert needed == set(FFMPEG_LIBRARIES)


def test_it_runs_on_a_python_without_packages():
    # -I -S: neither site-packages nor the working folder can be imported from.
    command = [sys.executable, "-I", "-S", system_packages.__file__]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
