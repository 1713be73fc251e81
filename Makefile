# `make demo` and `make test` do all set-up; a second call does none. Needed: Python 3.11 or newer, make, a package index.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# One thread per test process: with several processes on two cores more threads only wait for each other.
TEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

.PHONY: demo test test-all lint setup lock clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; install it, or call make PYTHON=/path/to/python3.11"; exit 4; }
	@echo "[1/3] virtual environment in $(VENV) ($(PYTHON))"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "No venv module: install python3-venv"; exit 4; }
	@echo "[2/3] installer"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "[3/3] packages of requirements.lock (some gigabytes the first time, then from the cache)"
	@$(BIN)/python -m uv pip install --python $(BIN)/python --quiet --no-deps -r requirements.lock
	@$(BIN)/python -m uv pip install --python $(BIN)/python --quiet --no-deps -e .
	@touch $(STAMP)
	@echo "set-up done"

demo: $(STAMP)
	@$(BIN)/fundusion demo --out demo

lint: $(STAMP)
	@$(BIN)/ruff check src tests benchmarks recipes
	@$(BIN)/ruff format --check src tests benchmarks recipes
	@$(BIN)/lint-imports
	@$(BIN)/mypy

test: lint
	@$(TEST) -m "not slow and not gpu and not network" tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --doctest-modules src/fundusion

test-all: lint
	@$(TEST) --hypothesis-profile=searching -m "not gpu and not network" tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --doctest-modules src/fundusion

lock: $(STAMP)
	@$(BIN)/python -m uv pip compile pyproject.toml --extra all --extra dev --python-version 3.11 --universal \
		--no-emit-index-url --no-annotate --no-header -o requirements.lock

clean:
	rm -rf $(VENV) demo build dist
