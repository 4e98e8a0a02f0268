"""Runs commands in forks of one process that has imported what they all import: most of what they do in a test.

Reads a JSON line with command and log file from stdin for each, and answers with its exit code.
"""

import json
import os
import runpy
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

HEAVY = (
    "lerobot.scripts.lerobot_train",
    "lerobot.scripts.lerobot_eval",
    "lerobot_qwenvla.demo.report",
    "lerobot_qwenvla.features.precompute",
    "lerobot_qwenvla.miniworld.environment",
)


def main() -> None:
    for module in HEAVY:
        import_module(module)
    for line in sys.stdin:
        command, log = json.loads(line)
        child = os.fork()
        if child == 0:
            log_file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log_file, sys.stdout.fileno())
            os.dup2(log_file, sys.stderr.fileno())
            call(command)
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def call(command: list[str]) -> None:
    program, *arguments = command
    if program == sys.executable:
        dash_m, module, *arguments = arguments
        assert dash_m == "-m"
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        (entry_point,) = entry_points(group="console_scripts", name=Path(program).stem)
        entry_point.load()()


# Workers of a command import this file too.
if __name__ == "__main__":
    main()
