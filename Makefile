# make demo: install, train the quickstart, draw its figure. make claims: the papers' claims from nothing (docs/claims.md).
# make test | test-kernels | test-slow | lint: what CI runs (docs/contributing.md). make test-gpu: docs/gpu.md.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Waiting threads that spin take the core of the thread they wait for; the command line sets this for itself.
export OMP_WAIT_POLICY ?= PASSIVE

# The float kernels of a CPU without vector extensions: torch's own, and those of its convolutions.
PLAIN_KERNELS := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41

# The sweeps that decide what the papers claim. EDITION=papers: at the papers' scale, OPTIONS=--slurm on a cluster.
CLAIMS := floor granularity batch_size imbalance classes seeds temperature
EDITION ?= claims
CLAIMS_IN := $(if $(filter papers,$(EDITION)),configs/sweeps/papers,configs/claims)

.PHONY: demo claims test test-kernels test-slow test-gpu lint docs notebooks install

demo: .venv/installed
	$(BIN)/coupled-run train configs/quickstart.toml
	$(BIN)/coupled-analyze curves runs/quickstart

# What the papers claim, decided from sweeps on two cores. Killed, it goes on where it was.
claims: .venv/installed-evaluation
	set -e; for sweep in $(CLAIMS); do $(BIN)/coupled-run sweep $(CLAIMS_IN)/$$sweep.toml $(OPTIONS); done
	$(BIN)/coupled-analyze claims runs/$(EDITION)_*

test: .venv/installed-dev
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist loadfile

test-kernels: .venv/installed-dev
	$(PLAIN_KERNELS) $(BIN)/python -m pytest -m "kernels and not slow" --numprocesses auto --dist loadfile
	$(PLAIN_KERNELS) $(BIN)/python -m pytest -m "threads and not slow" --threads 2

test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -m slow --numprocesses auto --dist loadgroup

# The documentation site, in build/site/.
docs: .venv/installed-dev
	$(PIP) --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The notebooks' outputs, from their sources docs/notebooks/*.py.
notebooks: .venv/installed-dev
	$(BIN)/python docs/make_notebooks.py

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/installed-evaluation: .venv/installed
	$(PIP) --editable ".[evaluation]"
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --editable ".[test,lint]"
	touch $@

# On a machine with a GPU: docs/gpu.md. With that machine's own Python; it installs nothing.
test-gpu:
	$(PYTHON) tests/device
