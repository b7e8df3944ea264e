# `make demo` trains the shipped models further on synthetic words and measures them; `make test`
# runs the whole test suite; `make table1` trains the models of the paper's Table 1 and its ablations,
# with CONFIG=configs/paper.py at its sizes. All need Python 3.11 and pip, and install everything
# else into .venv.

PYTHON ?= python3.11
BIN := .venv/bin
WORKDIR ?= runs/demo
CONFIG ?= configs/tiny.py
TABLE1 ?= runs/table1
# Each worker takes some 5 GB. Groups of tests are given out in the order of tests/conftest.py, not
# by their number of tests: the longest have few.
WORKERS := --numprocesses=logical --maxprocesses=4 --dist=loadgroup --no-loadscope-reorder

.PHONY: demo table1 test test-fast docs lint format clean

demo: .venv/installed
	$(BIN)/python train.py --config=configs/demo.py --workdir=$(WORKDIR)
	$(BIN)/python quantize.py --workdir=$(WORKDIR) --prior=laplace --bits=4,6,8
	$(BIN)/python evaluate.py --workdir=$(WORKDIR)

table1: .venv/installed
	$(BIN)/python -m textsr_jax.experiments.table1 --config=$(CONFIG) --folder=$(TABLE1)

test: .venv/installed-dev
	$(BIN)/python -m pytest $(WORKERS)

test-fast: .venv/installed-dev
	$(BIN)/python -m pytest $(WORKERS) -m "not slow"

# The documentation as a site in docs/_build/html. Pages with code cells run; a warning is an error.
docs: .venv/installed-docs
	rm -rf docs/_build docs/api/generated
	$(BIN)/python -m sphinx -W --keep-going --quiet --jobs auto --builder html docs docs/_build/html
	@echo 'documentation: docs/_build/html/index.html'

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python setup.cfg constraints.txt
	@echo 'installing into .venv: a few minutes the first time'
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[train,fonts]'
	touch $@

.venv/installed-dev: .venv/bin/python setup.cfg constraints.txt
	@echo 'installing into .venv: a few minutes the first time'
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

# The API pages import every module, so that they need what the tests need.
.venv/installed-docs: .venv/installed-dev
	@echo 'installing into .venv: some 50 packages more'
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

clean:
	rm -rf .venv runs
