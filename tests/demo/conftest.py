from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def run_forked(forks) -> Callable[[list[str], Path], None]:
    """Runs commands as the demo's runner does, but without importing PyTorch and LeRobot anew for each."""

    def run_command(command: list[str], log_path: Path) -> None:
        forks.start(command, log_path).wait()

    return run_command
