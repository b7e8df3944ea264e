# `make demo` trains the shipped models further on synthetic words and measures them; `make test`
# runs the whole test suite; `make table1` trains the models of the paper's Table 1 and its ablations,
# with CONFIG=configs/paper.py at its sizes. All need Python 3.11, 3.12 or 3.13 with pip, and install
# everything else into .venv.

# The newest Python that can make environments; `make PYTHON=...` names another. An environment keeps
# its Python: for another, delete it, or name a second folder by `make VENV=...`.
VENV ?= .venv
USABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(firstword $(foreach python,python3.13 python3.12 python3.11 python3,\
	$(shell $(python) -c '$(USABLE)' >/dev/null 2>&1 && echo $(python))))
BIN := $(VENV)/bin
WORKDIR ?= runs/demo
CONFIG ?= configs/tiny.py
TABLE1 ?= runs/table1
# Each worker takes some 5 GB. Groups of tests are given out in the order of tests/conftest.py, not
# by their number of tests: the longest have few.
WORKERS := --numprocesses=logical --maxprocesses=4 --dist=loadgroup --no-loadscope-reorder

.PHONY: demo table1 test test-fast docs lint format clean

demo: $(VENV)/installed
	$(BIN)/python train.py --config=configs/demo.py --workdir=$(WORKDIR)
	$(BIN)/python quantize.py --workdir=$(WORKDIR) --prior=laplace --bits=4,6,8
	$(BIN)/python evaluate.py --workdir=$(WORKDIR)

table1: $(VENV)/installed
	$(BIN)/python -m textsr_jax.experiments.table1 --config=$(CONFIG) --folder=$(TABLE1)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(WORKERS)

test-fast: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(WORKERS) -m "not slow"

# The documentation as a site in docs/_build/html. Pages with code cells run; a warning is an error.
docs: $(VENV)/installed-docs
	rm -rf docs/_build docs/api/generated
	$(BIN)/python -m sphinx -W --keep-going --quiet --jobs auto --builder html docs docs/_build/html
	@echo 'documentation: docs/_build/html/index.html'

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Whatever an earlier Python left in the folder goes.
$(BIN)/python:
	$(or $(PYTHON),$(error no Python 3.11, 3.12 or 3.13 with venv and pip is on the path: install \
	one, or name it by `make PYTHON=...`)) -m venv --clear $(VENV)

# With the PYTHON of the command line or the environment, not of this file.
ifneq ($(origin PYTHON),file)
ifneq ($(wildcard $(BIN)/python),)
version = $(basename $(lastword $(shell $(1) -V)))
ifneq ($(call version,$(BIN)/python),$(call version,$(PYTHON)))
$(error $(VENV) has Python $(call version,$(BIN)/python), not $(call version,$(PYTHON)) as PYTHON \
says: delete $(VENV), or name another folder by `make VENV=...`)
endif
endif
endif

$(VENV)/installed: $(BIN)/python setup.cfg constraints.txt
	@echo 'installing into $(VENV): a few minutes the first time'
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[train,fonts]'
	touch $@

$(VENV)/installed-dev: $(BIN)/python setup.cfg constraints.txt
	@echo 'installing into $(VENV): a few minutes the first time'
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

# The API pages import every module, so that they need what the tests need.
$(VENV)/installed-docs: $(VENV)/installed-dev
	@echo 'installing into $(VENV): some 50 packages more'
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

clean:
	rm -rf $(VENV) runs
