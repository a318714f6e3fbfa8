# make demo and make test are all the set-up there is: they need git, make and Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
DEMO := runs/demo

.PHONY: demo test check bench studies fix docs clean

demo: .venv/installed  ## train on this Python's standard library, and write (about 3 minutes)
	$(BIN)/nextchar train stdlib --minutes 1.5 --overwrite -o $(DEMO)
	@echo; echo '$$ nextchar sample $(DEMO) -p "def " -n 400 -t 0.7'
	@$(BIN)/nextchar sample $(DEMO) -p "def " -n 400 -t 0.7 --seed 1
	@echo; echo; echo 'Now it is yours:'
	@echo '  . $(BIN)/activate'
	@echo '  nextchar sample $(DEMO) -p "class " -n 1000'
	@echo '  nextchar train --resume $(DEMO) --minutes 5'
	@echo '  nextchar train YOUR_TEXT.txt'

test: .venv/developing  ## the whole test suite
	$(BIN)/python -m pytest

check: .venv/developing  ## what the code must look like
	$(BIN)/ruff format --check src tests docs benchmarks studies
	$(BIN)/ruff check src tests docs benchmarks studies
	$(BIN)/mypy

bench: .venv/installed  ## how fast this machine is
	$(BIN)/nextchar bench

studies:  ## the commands that repeat each study; most need a text, and take long
	@grep -h '^    python studies/' studies/*.py

fix: .venv/developing  ## mend what can be mended by a program
	$(BIN)/ruff format src tests docs benchmarks studies
	$(BIN)/ruff check --fix src tests docs benchmarks studies
	$(BIN)/python docs/generate.py

docs: .venv/developing  ## write the reference pages from the program itself
	$(BIN)/python docs/generate.py

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/developing: .venv/installed
	$(PIP) --editable '.[dev]'
	touch $@

clean:  ## remove what make made
	rm -rf .venv build src/*.egg-info
