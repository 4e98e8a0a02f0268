"""Commands as forks of one process that has imported LeRobot, which takes longer than all they do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

START_S = 300


class Forks:
    """The process that forks."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("forked_commands.py")
        self.server = subprocess.Popen(
            [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(
        self, command: list[str], log: Path, environment: dict[str, str] | None = None, folder: Path | None = None
    ) -> "Running":
        """Starts a command in `folder`, or where the tests run."""
        log.touch()
        command, folder = [str(word) for word in command], str(folder or Path.cwd())
        process = self.ask(command=command, log=str(log), environment=environment or {}, folder=folder)
        return Running(self, process, log)

    def ask(self, **request: object) -> int:
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def close(self) -> None:
        self.server.stdin.close()
        self.server.wait(10)


@dataclass
class Running:
    """A command that was started."""

    forks: Forks
    process: int
    log: Path
    exit_code: int | None = None

    def read(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace")

    def wait(self, exit_code: int = 0) -> str:
        """Its log, when it has ended as it should."""
        if self.exit_code is None:
            self.exit_code = self.forks.ask(wait=self.process)
        assert self.exit_code == exit_code, self.read()
        return self.read()

    def wait_for(self, condition: Callable[[], object], poll_s: float = 0.005) -> None:
        """While it runs."""
        until_s = time.monotonic() + START_S
        while not condition():
            assert self.runs() and time.monotonic() < until_s, self.read()
            time.sleep(poll_s)

    def wait_for_log(self, text: str) -> None:
        self.wait_for(lambda: text in self.read())

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait(-signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        assert self.exit_code is None
        os.kill(self.process, number)

    def runs(self) -> bool:
        if self.exit_code is not None:
            return False  # its id may be another process's by now, even a thread's of this one
        status = Path(f"/proc/{self.process}/stat").read_text()
        # One that has ended waits to be asked for its exit code.
        return status.rpartition(")")[2].split()[0] != "Z"
