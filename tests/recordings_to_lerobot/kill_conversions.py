"""Kills conversions at random moments and compares what the next run makes of it with an uninterrupted run.

    python tests/recordings_to_lerobot/kill_conversions.py [--kills 200] [--seed 0]

Half of the conversions make a new dataset, half add to one. Every file of every result must be the same, byte by
byte. Prints one JSON line, and exits with 1 if any result differs.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from raw_recordings import make_recording, messy_ticks_and_events, regular_ticks

N_EPISODES = 6
ADDED_FROM = 3


def make_recordings(folder: Path) -> None:
    """Some whose videos are copied and some whose videos are encoded, for they drop frames."""
    for index in range(N_EPISODES):
        ticks, events = messy_ticks_and_events(seed=index, n_frames=40)
        make_recording(folder / f"episode_{index}", regular_ticks(40) if index % 2 else ticks, events)


def start(recordings: Path, root: Path) -> int:
    """Process id of a new process group that converts."""
    pid = os.fork()
    # In both, whichever comes first.
    os.setpgid(pid, pid)
    if pid:
        return pid
    log = os.open(root.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from recordings_to_lerobot.commands.convert import ConvertConfig, run

    os._exit(run(ConvertConfig(input=recordings, repo_id="a/b", root=root, workers=2)))


def finish(recordings: Path, root: Path) -> None:
    """Converts without being disturbed."""
    _, status = os.waitpid(start(recordings, root), 0)
    assert os.waitstatus_to_exitcode(status) == 0, (root.parent / "log").read_text()


def fingerprint(root: Path) -> dict[str, str]:
    """Digest of every file of a dataset."""
    return {
        path.relative_to(root).as_posix(): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # Forked processes have it already; importing LeRobot would else take most of their time.
    import recordings_to_lerobot.dataset.assembly  # noqa: F401

    rng = random.Random(options.seed)
    different, killed_after_s, states = [], [], {"nothing": 0, "work": 0, "dataset": 0}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_recordings(folder / "all")
        for index in range(ADDED_FROM):
            shutil.copytree(folder / f"all/episode_{index}", folder / f"first/episode_{index}")
        (folder / "base").mkdir()
        finish(folder / "first", folder / "base/out")
        references, durations_s = {}, {}
        for adds in (False, True):
            root = folder / f"reference {adds}/out"
            root.parent.mkdir()
            if adds:
                shutil.copytree(folder / "base/out", root)
            started_s = time.monotonic()
            finish(folder / "all", root)
            durations_s[adds] = time.monotonic() - started_s
            references[adds] = fingerprint(root)
        for kill in range(options.kills):
            adds = kill % 2 == 1
            root = folder / f"kill {kill}/out"
            root.parent.mkdir()
            if adds:
                shutil.copytree(folder / "base/out", root)
            delay_s = rng.uniform(0, durations_s[adds] * 1.1)
            pid = start(folder / "all", root)
            time.sleep(delay_s)
            # Either only the process that the user knows, or its workers, too.
            (os.killpg if rng.random() < 0.5 else os.kill)(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            done = root.exists() and fingerprint(root) == references[adds]
            has_work = any((root.parent / ".out.work").glob("*.entry"))
            states["dataset" if done else "work" if has_work else "nothing"] += 1
            killed_after_s.append(round(delay_s, 2))
            finish(folder / "all", root)
            left_over = sorted(path.name for path in root.parent.iterdir() if path.name not in ("out", "log"))
            if fingerprint(root) != references[adds] or left_over:
                different.append({"kill": kill, "adds": adds, "after_s": delay_s, "left_over": left_over})
            shutil.rmtree(root.parent)
            print(kill, states, len(different), file=sys.stderr)
    result = {"kills": options.kills, "different": different, "found_after_the_kill": states}
    print(json.dumps(result))
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
