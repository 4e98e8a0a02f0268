import subprocess
import sys

import pytest

from lerobot_qwenvla.miniworld import check_gl

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OpenGL belongs to the system")


@on_linux
def test_libraries_that_load_are_not_missing():
    assert check_gl.missing_libraries(["c", "m"]) == []


@on_linux
def test_libraries_that_do_not_load_are_missing():
    assert check_gl.missing_libraries(["c", "no-such-library"]) == ["no-such-library"]


def test_remedy_is_one_command():
    command = "sudo sh -c 'apt-get update; apt-get install -y libegl1 libgl1 libglu1-mesa'"
    assert check_gl.remedy(["EGL"]).endswith(f"Install with: {command}")


@on_linux
def test_missing_library_exits_with_1_and_the_command(capsys):
    assert check_gl.main([], libraries=["no-such-library"]) == 1
    message = capsys.readouterr().err
    assert "libno-such-library" in message
    assert "apt-get install -y libegl1 libgl1 libglu1-mesa" in message


def test_complete_libraries_exit_with_0():
    assert check_gl.main([], libraries=["c"]) == 0


@on_linux
def test_missing_programs_are_named_with_the_command_and_are_no_failure(capsys):
    assert check_gl.main([], libraries=["c"], programs=["no-such-program"]) == 0
    message = capsys.readouterr().err
    assert "cannot be tested without no-such-program" in message
    assert "apt-get install -y xvfb xdotool" in message


def test_only_linux_needs_libraries():
    assert check_gl.needs_libraries("linux")
    assert not check_gl.needs_libraries("darwin")
    assert not check_gl.needs_libraries("win32")


def test_it_runs_on_a_python_without_packages():
    # -I -S: neither site-packages nor the working folder can be imported from.
    run = subprocess.run([sys.executable, "-I", "-S", check_gl.__file__], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
