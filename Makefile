# make demo: install, train the quickstart, draw its figure.   make test | test-slow | lint: what CI runs.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Waiting threads that spin take the core of the thread they wait for; the command line sets this for itself.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-slow lint install

demo: .venv/installed
	$(BIN)/coupled-run train configs/quickstart.toml
	$(BIN)/coupled-analyze curves runs/quickstart

test: .venv/installed-dev
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist loadfile

test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -m slow --numprocesses auto --dist worksteal

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --editable ".[test,lint]"
	touch $@
