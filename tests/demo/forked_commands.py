"""Runs commands in forks of one process that has imported what they all import: most of what they do in a test.

Reads a JSON line with command and log file from stdin for each, and answers with its exit code.
"""

import json
import os
import runpy
import sys
from importlib.metadata import entry_points
from pathlib import Path

import transformers

import lerobot_qwenvla.demo.report
import lerobot_qwenvla.miniworld.environment  # noqa: F401

# transformers imports its models when they are first asked for.
_ = transformers.AutoModelForImageTextToText, transformers.Qwen3VLProcessor


def call(command: list[str]) -> None:
    program, *arguments = command
    if program == sys.executable:
        dash_m, module, *arguments = arguments
        assert dash_m == "-m"
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        assert Path(program).is_file()
        sys.argv = command
        (entry_point,) = entry_points(group="console_scripts", name=Path(program).name)
        entry_point.load()()


for line in sys.stdin:
    command, log = json.loads(line)
    child = os.fork()
    if child == 0:
        log_file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log_file, 1)
        os.dup2(log_file, 2)
        call(command)
        break
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
