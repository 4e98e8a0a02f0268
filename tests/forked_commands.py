"""Runs commands in forks of one process that has imported what they all import: most of what they do in a test.

Reads JSON lines from stdin. {"command", "log", "environment", "folder"} starts one and answers with its process's id;
{"wait"} with such an id answers with its exit code.
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
    "lerobot_qwenvla.realtime.compare",
    "lerobot_qwenvla.training.train",
)


def main() -> None:
    for module in HEAVY:
        import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        elif process := os.fork():
            print(process, flush=True)
        else:
            call(**request)
            return


def call(command: list[str], log: str, environment: dict[str, str], folder: str) -> None:
    log_file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log_file, sys.stdout.fileno())
    os.dup2(log_file, sys.stderr.fileno())
    os.environ |= environment
    os.chdir(folder)
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
