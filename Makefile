# Everything a user needs: `make serve` and `make test`. Both install what is missing, and nothing a second time.

PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
# `make -f` works from any folder.
.SHELLFLAGS = -c 'cd "$(dir $(lastword $(MAKEFILE_LIST)))" && eval "$$0"'
.PHONY: help serve test test-engines chaos lint lock reference clean python

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

serve: python  ## install, fetch the model, start vLLM and the gateway (ARGS="--port 9000" for other settings)
	@$(PYTHON) scripts/bootstrap.py
	@exec $(BIN)/smallfirst serve $(ARGS)

test: lint  ## run every check and the tests, those against real vLLM included (about 10 minutes on two cores)
	@$(BIN)/pytest

test-engines: python  ## run the tests that start further engines of their own, and write docs/test-engines.md
	@$(PYTHON) scripts/bootstrap.py --dev --engines
	@$(BIN)/python scripts/test_engines.py

chaos: python  ## run the fault wall alone, and write its verdicts into docs/fault-wall.md
	@$(PYTHON) scripts/bootstrap.py --dev
	@$(BIN)/pytest -m chaos --fault-wall=docs/fault-wall.md

lint: python  ## formatting, lint, types, import contracts
	@$(PYTHON) scripts/bootstrap.py --dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy scripts/*.py
	@$(BIN)/lint-imports

lock: python  ## resolve requirements/*.in again into requirements/*.txt
	@$(PYTHON) scripts/lock.py

reference: python  ## write docs/reference from the code
	@$(PYTHON) scripts/bootstrap.py --dev
	@$(BIN)/python scripts/reference.py

clean:  ## remove the environment and the caches; models and state stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

# In words that every Python from 2.7 on understands.
TOO_OLD := smallfirst needs Python 3.11 or newer; %s is %s.\nDebian 12 and newer: \
	apt install python3 python3-venv. Or: make PYTHON=/path/to/python3.11
python:
	@$(PYTHON) -c 'import sys; \
	sys.version_info < (3, 11) and sys.exit("$(TOO_OLD)" % (sys.executable, sys.version.split()[0]))'
