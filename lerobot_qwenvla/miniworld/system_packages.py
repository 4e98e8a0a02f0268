"""Checks that the OpenGL libraries Miniworld draws with can be loaded, and says or does what is missing.

Beside them it looks for the programs that test the recorder's window; without those, only these tests are skipped.

    python lerobot_qwenvla/miniworld/system_packages.py [--install]

Standard library only: run as a file it needs nothing installed.
"""

import argparse
import ctypes
import ctypes.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

LIBRARIES = ("EGL", "GL", "GLU")
PACKAGES = ("libegl1", "libgl1", "libglu1-mesa")  # Debian's and Ubuntu's names
# A screen that nobody sees, and a mouse and keyboard that nobody holds.
TEST_PROGRAMS = ("Xvfb", "xdotool")
TEST_PACKAGES = ("xvfb", "xdotool")


def missing_libraries(names: Iterable[str] = LIBRARIES) -> list[str]:
    """Those of the shared libraries (`GL` stands for libGL) that cannot be loaded into this process."""
    return [name for name in names if not _loads(name)]


def missing_programs(names: Iterable[str] = TEST_PROGRAMS) -> list[str]:
    """Those of the programs that cannot be found."""
    return [name for name in names if shutil.which(name) is None]


def remedy(missing: list[str]) -> str:
    """What to tell a person who lacks these libraries."""
    return f"Miniworld cannot draw without {', '.join(f'lib{name}' for name in missing)}. {_how_to_install(PACKAGES)}"


def programs_remedy(missing: list[str]) -> str:
    """What to tell a person who lacks these programs."""
    return f"The recorder's window cannot be tested without {', '.join(missing)}. {_how_to_install(TEST_PACKAGES)}"


def _how_to_install(packages: Iterable[str]) -> str:
    if shutil.which("apt-get") is None:
        return "Install the packages of your system that hold them."
    return f"Install with: sudo sh -c 'apt-get update; apt-get install -y {' '.join(packages)}'"


def needs_libraries(platform: str = sys.platform) -> bool:
    """Whether these libraries are something to install: elsewhere OpenGL belongs to the system."""
    return platform.startswith("linux")


def _loads(name: str) -> bool:
    file_name = ctypes.util.find_library(name)
    if file_name is None:
        return False
    try:
        ctypes.CDLL(file_name)
    except OSError:
        return False
    return True


def _install(packages: Iterable[str]) -> None:
    # Lists of one unreachable source need not keep the others from having the packages.
    subprocess.run(["apt-get", "update"], check=False)
    try:
        subprocess.run(["apt-get", "install", "-y", *packages], check=True)
    except subprocess.CalledProcessError as error:
        print(f"`{' '.join(error.cmd)}` failed with exit code {error.returncode}.", file=sys.stderr)


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def main(
    argv: list[str] | None = None, libraries: Iterable[str] = LIBRARIES, programs: Iterable[str] = TEST_PROGRAMS
) -> int:
    """Exit code 0 when every library can be loaded, 1 with the one command that repairs it otherwise."""
    parser = argparse.ArgumentParser(description="Check the OpenGL libraries that Miniworld needs.")
    parser.add_argument("--install", action="store_true", help="install what is missing (as root, with apt-get)")
    options = parser.parse_args(argv)
    if not needs_libraries():
        print("OpenGL: nothing to install on this system.")
        return 0
    installs = options.install and _may_install()
    if installs and missing_libraries(libraries):
        _install(PACKAGES)
    if installs and missing_programs(programs):
        _install(TEST_PACKAGES)
    if absent := missing_programs(programs):
        print(programs_remedy(absent), file=sys.stderr)
    if missing := missing_libraries(libraries):
        print(remedy(missing), file=sys.stderr)
        return 1
    print("OpenGL: all libraries are there.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
