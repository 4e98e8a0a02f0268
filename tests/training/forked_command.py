"""Runs MODULE's main() as the command COMMAND[0], in the ENVIRONMENT given, with its output in LOG; see conftest.py."""

import importlib
import os
import sys

os.environ |= ENVIRONMENT  # noqa: F821
log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # noqa: F821
os.dup2(log, 1)
os.dup2(log, 2)
sys.argv = COMMAND  # noqa: F821
importlib.import_module(MODULE).main()  # noqa: F821
