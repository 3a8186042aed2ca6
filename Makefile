# Everything a user needs: `make serve` and `make test`. Both install what is missing, and nothing a second time.

PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help serve test lint lock clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

serve:  ## install, fetch the model, start vLLM and the gateway (ARGS="--port 9000" for other settings)
	@$(PYTHON) scripts/bootstrap.py
	@exec $(BIN)/smallfirst serve $(ARGS)

test: lint  ## run every check and every test, those against real vLLM included
	@$(BIN)/pytest

lint:  ## formatting, lint, types, import contracts
	@$(PYTHON) scripts/bootstrap.py --dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy scripts/*.py
	@$(BIN)/lint-imports

lock:  ## resolve requirements/*.in again into requirements/*.txt
	@$(PYTHON) scripts/lock.py

clean:  ## remove the environment and the caches; models and state stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
