"""What the project needs of the system, which pip cannot install: says what is missing, or installs it.

    python lerobot_qwenvla/miniworld/system_packages.py [--install]

Standard library only: run as a file it needs nothing installed.
"""

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """Libraries or programs of the system, and what they are for.

    Attributes:
        name: What is needed, in the singular.
        loss: What happens without it, to go on after "without it".
        packages: Debian's and Ubuntu's names of the packages that bring it.
        is_there: Tells whether it can be used.
        is_required: Whether the project is of no use without it.
    """

    name: str
    loss: str
    packages: tuple[str, ...]
    is_there: Callable[[], bool]
    is_required: bool = False

    def remedy(self) -> str:
        """What to tell a person who lacks it."""
        if shutil.which("apt-get") is None:
            how = "Install the packages of your system that hold it."
        else:
            how = f"Install with: sudo sh -c 'apt-get update; apt-get install -y {' '.join(self.packages)}'"
        return f"{self.name} is missing; without it {self.loss}. {how}"


def loads(library: str) -> bool:
    """Whether a shared library (`libGL.so.1`), with all that it needs itself, can be loaded into this process."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


OPENGL = Need(
    name="OpenGL (libEGL, libGL, libGLU)",
    loss="Miniworld cannot draw",
    packages=("libegl1", "libgl1", "libglu1-mesa"),
    is_there=lambda: all(map(loads, ("libEGL.so.1", "libGL.so.1", "libGLU.so.1"))),
    is_required=True,
)
# Of the libraries that torchcodec needs, the one that needs all others: one for each version of FFmpeg.
FFMPEG_LIBRARIES = tuple(f"libavdevice.so.{version}" for version in range(58, 63))
FFMPEG = Need(
    name="FFmpeg (shared libraries of version 4 to 8)",
    loss="every command begins with a page of torchcodec's errors, and LeRobot reads videos with PyAV instead",
    packages=("ffmpeg",),
    is_there=lambda: any(map(loads, FFMPEG_LIBRARIES)),
)
# A screen that nobody sees, and a mouse and keyboard that nobody holds.
WINDOW = Need(
    name="A virtual screen (Xvfb, xdotool)",
    loss="windows cannot be tested",
    packages=("xvfb", "xdotool"),
    is_there=lambda: all(map(shutil.which, ("Xvfb", "xdotool"))),
)


def _install(needs: Sequence[Need]) -> None:
    # Lists of one unreachable source need not keep the others from having the packages.
    subprocess.run(["apt-get", "update"], check=False)
    for need in needs:
        command = ["apt-get", "install", "-y", *need.packages]
        exit_code = subprocess.run(command, check=False).returncode
        if exit_code != 0:
            print(f"`{' '.join(command)}` failed with exit code {exit_code}.", file=sys.stderr)


def _may_install() -> bool:
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def main(argv: Sequence[str] | None = None, needs: Sequence[Need] = (OPENGL, FFMPEG, WINDOW)) -> int:
    """Exit code 0 when all that is required is there, 1 with the command that repairs it otherwise."""
    parser = argparse.ArgumentParser(description="Check what the project needs of the system.")
    parser.add_argument("--install", action="store_true", help="install what is missing (as root, with apt-get)")
    options = parser.parse_args(argv)
    if not sys.platform.startswith("linux"):
        print(f"OpenGL comes with this system. Install {FFMPEG.name}: without it {FFMPEG.loss}.")
        return 0
    missing = [need for need in needs if not need.is_there()]
    if missing and options.install and _may_install():
        _install(missing)
        missing = [need for need in missing if not need.is_there()]
    for need in missing:
        print(need.remedy(), file=sys.stderr)
    if not missing:
        print("The system has all that is needed.")
    return int(any(need.is_required for need in missing))


if __name__ == "__main__":
    sys.exit(main())
