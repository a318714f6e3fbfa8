# make demo and make test are all the set-up there is: they need git, make and Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: help demo test test-fast check fix docs site size bench studies smoke torture clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 12

demo: .venv/installed  ## train on this Python's standard library, and sample (about 3 minutes)
	$(BIN)/nextchar demo

test: .venv/developing  ## run all tests
	$(PYTEST)

test-fast: .venv/developing  ## run the tests that take less than about a second each
	$(PYTEST) -m "not slow"

check: .venv/developing  ## run the linters and the type checker
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: .venv/developing docs  ## apply what the linters can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/developing  ## update the generated parts of docs/
	$(BIN)/python docs/generate.py

site: .venv/documenting  ## build the documentation site into site/, and check its links
	$(BIN)/zensical build --clean --strict

size:  ## count lines of code by room, and the longest functions
	@$(PYTHON) tools/size.py

bench: .venv/installed  ## measure the speed of this machine
	$(BIN)/nextchar bench

studies:  ## list the commands that repeat each study
	@grep -h '^    python studies/' studies/*.py

smoke:  ## build the package, install it into an empty environment, and run its commands
	$(PYTHON) tools/smoke.py

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/developing: .venv/installed
	$(PIP) --editable '.[dev]'
	touch $@

.venv/documenting: .venv/installed
	$(PIP) --editable '.[docs]'
	touch $@

torture: .venv/developing  ## damaged files, kills, power cuts, full disks, a soak: hours (docs/reliability.md)
	$(BIN)/python tools/torture.py

clean:  ## remove what make made, and compiled code from the cache
	test ! -x $(BIN)/nextchar || $(BIN)/python -m nextchar.kernels.compile_cache --clear
	rm -rf .venv build dist site src/*.egg-info
