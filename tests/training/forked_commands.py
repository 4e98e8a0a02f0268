"""Runs commands at the same time, in forks of one process that has imported what they all import; see conftest.py.

Reads JSON lines from stdin. {"module", "command", "log", "environment"} runs a module's main() and answers with the
process's id; {"wait"} with such an id answers with its exit code.
"""

import json
import os
import sys
from importlib import import_module


def main() -> None:
    for module in sys.argv[1:]:
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


def call(module: str, command: list[str], log: str, environment: dict[str, str]) -> None:
    log_file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log_file, sys.stdout.fileno())
    os.dup2(log_file, sys.stderr.fileno())
    os.environ |= environment
    sys.argv = command
    import_module(module).main()


if __name__ == "__main__":
    main()
