import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def run_forked() -> Iterator[Callable[[list[str], Path], None]]:
    """Runs commands as the demo's runner does, but without importing PyTorch and LeRobot anew for each."""
    server = [sys.executable, Path(__file__).with_name("forked_commands.py")]
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def run_command(command: list[str], log_path: Path) -> None:
            process.stdin.write(json.dumps([command, str(log_path)]) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "0\n", log_path.read_text()

        yield run_command
        process.stdin.close()
