# make setup   .venv with everything pinned, and the system packages that Miniworld, videos and the tests need
# make demo    record → convert → train → evaluate → outputs/demo/report.html   (SEED=1 for another training seed)
# make test    the whole test suite, offline
# make lint    what a pull request must pass

VENV := .venv
PYTHON := $(VENV)/bin/python
# uv where it works (a pyenv shim may exist and refuse), else our own copy of it through pip.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
SEED ?= 1000

.PHONY: setup demo test lint
setup: $(VENV)/.installed
demo: setup
	$(PYTHON) -m lerobot_qwenvla.demo.pipeline --seed=$(SEED)

test: setup
	$(PYTHON) -m pytest --numprocesses=2 --dist=worksteal

lint: setup
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

# Compiled once here: where Python may not write bytecode, every command else compiles PyTorch and LeRobot again.
$(VENV)/.installed: pyproject.toml requirements.lock $(filter .uv/bin/uv,$(UV))
	$(UV) venv --quiet --allow-existing --python 3.12 $(VENV)
	$(UV) pip install --compile-bytecode --python $(PYTHON) --constraint requirements.lock --editable ".[test]"
	$(PYTHON) lerobot_qwenvla/miniworld/system_packages.py --install
	touch $@

# Without python3-venv, pip alone can still put uv into a folder.
.uv/bin/uv:
	{ python3 -m venv .uv && .uv/bin/pip install --quiet uv; } || python3 -m pip install --quiet --target .uv uv
