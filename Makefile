# make setup | demo | test | check      (each calls what it needs; a second setup is instant)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := starter,llamacpp,serve,studio,preference,qlora,dev

.DEFAULT_GOAL := help
.PHONY: help setup demo test e2e check docs constraints clean

help:
	@echo "make setup   a virtual environment in .venv with everything pinned in constraints.txt"
	@echo "make demo    an untuned small model becomes Jerry, with numbers before and after (about 10 minutes)"
	@echo "make test    run the tests"
	@echo "make e2e     drive the studio in Chromium the whole way, in both languages"
	@echo "make check   ruff, mypy, floors, docs fresh"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "HearMeGLM needs Python 3.11 or newer; found $$($(PYTHON) --version). Try: make setup PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || { echo "setup: making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "setup: installing the pinned packages (a minute or two, 3 GB)"
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]" 2>&1 | grep --line-buffered -E "^(Collecting|Successfully|ERROR|error)" | cut -c1-110; test $${PIPESTATUS[0]} -eq 0
	@touch $@
	@echo "setup: ready. Next: make demo"

demo: setup
	@$(BIN)/hearme run demo

test: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

e2e: setup
	@HEARME_E2E=full $(BIN)/python -m pytest tests/e2e

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_floors.py
	$(BIN)/python scripts/docs.py --check

docs: setup
	$(BIN)/python scripts/docs.py

constraints: setup
	@{ head -1 constraints.txt; echo "torch==$$($(BIN)/python -c 'import torch; print(torch.__version__.split("+")[0])')"; $(BIN)/pip freeze --exclude-editable | grep -v -E "^torch==| @ "; } > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache

SHELL := /bin/bash
