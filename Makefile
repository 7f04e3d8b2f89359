# Every target sets up what it needs; nothing has to be run first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A virtual environment without pip, as Debian leaves one behind, must not pass for a finished one.
.DELETE_ON_ERROR:

.PHONY: help install demo dev test lint bench load fuzz lock clean

help:  ## say what the targets do
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## make .venv with the locked dependencies

demo: install  ## a sample market, from DBN files to triangles, through Dagster
	@$(BIN)/trisignal demo

dev: install  ## the Dagster UI, with webserver and daemon
	@$(BIN)/trisignal dev

test: $(VENV)/.installed-dev  ## the whole test suite
	@$(BIN)/pytest -n auto --dist worksteal

lint: $(VENV)/.installed-dev  ## format, lint, types, and the arrows between the rooms
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## measured speed and memory
	@$(BIN)/python -m trisignal_pipeline_tests.benchmarks

load: $(VENV)/.installed-dev  ## the HTTP interface under load, beside the bare SQL
	@$(BIN)/python -m trisignal_pipeline_tests.benchmarks api

fuzz: $(VENV)/.installed-dev  ## damaged files for SECONDS (600), of campaign SEED (1)
	@$(BIN)/python -m trisignal_pipeline_tests.fuzz --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)

lock:  ## resolve the dependencies anew (needs uv)
	uv pip compile -q pyproject.toml --extra build --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header --no-strip-extras -o requirements.lock
	uv pip compile -q pyproject.toml --extra build --extra celery -c requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --no-strip-extras -o requirements-celery.lock
	uv pip compile -q pyproject.toml --extra build --extra dev -c requirements-celery.lock --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --no-strip-extras -o requirements-dev.lock

clean:  ## remove the virtual environment
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "trisignal needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# What was interrupted is installed over again: pip takes half a package for a whole one.
UNFINISHED := $(VENV)/.unfinished
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	$(if $(wildcard $(UNFINISHED)),--ignore-installed)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@touch $(UNFINISHED)
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@rm $(UNFINISHED)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@touch $(UNFINISHED)
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@rm $(UNFINISHED)
	@touch $@
