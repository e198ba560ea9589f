# The one list of commands: what a person runs is what CI runs.
# `make demo` and `make test` need Python 3.10 or newer, make and a package index, and bring the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 10))
PYTHON ?= $(shell for p in python3 python3.15 python3.14 python3.13 python3.12 python3.11 python3.10 python; do \
	$$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { echo $$p; break; }; done)

# Tests start many processes: without the compiled files, each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
TOOL := .uv/bin/python tools
# Servers are shared by all workers of a run; the tests of one file never run at the same time.
WORKERS ?= 3
SPREAD := -n $(WORKERS) --dist loadfile
SHORT := not soak and not fuzz
ARGS ?=

.PHONY: help env demo quick test test-all check format bench survival moving soak fuzz lock pythons release-check check-seams wheels site services clean distclean changelog

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: ## Make .venv: tools and all distributions, editable (quick when nothing changed)
	@test -n "$(PYTHON)" || { echo 'No Python 3.10 or newer on PATH: install one, or say make PYTHON=/path/to/python'; exit 2; }
	@$(PYTHON) tools/bootstrap.py
	@$(TOOL)/environment.py

demo: env ## Watch sample events flow through a routing tree (no server needed)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(firstword $(wildcard examples/quickstart/demo.sh examples/quickstart/demo.py))

quick: env ## Run the tests that start no process and no server (ARGS= for pytest)
	@$(BIN)/python -m pytest -q -n 2 -m '$(SHORT) and not process and not service' $(ARGS)

test: env ## Run the tests, real services included (ARGS= for pytest)
	@$(BIN)/python -m pytest $(SPREAD) -m '$(SHORT)' $(ARGS)

# What is marked `once` is left to `make test`: it shows nothing new on a further Python.
EACH := core/tests cli/tests testkit/tests plugins
test-all: env ## Run every distribution's tests that need no service on each Python 3.10-3.15 of this machine
	@$(TOOL)/matrix.py $(SPREAD) -m '$(SHORT) and not service and not once' $(EACH) $(ARGS)

check: env ## Check format, lint, types, sizes and docs
	@$(BIN)/ruff format --check --quiet . || { echo 'Run: make format'; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/python tools/check_types.py
	@$(BIN)/python tools/check_sizes.py
	@$(BIN)/python tools/check_docs.py

format: env ## Format the code and apply the safe fixes
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

bench: env ## Measure against the predecessor and the peers, in one run (ARGS= for the script)
	@$(BIN)/python bench/run.py $(ARGS)

survival: env ## Show which events survive the end of a process, here and with the peers (ARGS= for the script)
	@$(BIN)/python bench/survival.py $(ARGS)

soak: env ## Run the long trials (kill -9, stopped brokers, millions of events)
	@$(BIN)/python -m pytest -m soak --timeout 3600 $(ARGS)

fuzz: env ## Run the long form of the randomised trials
	@$(BIN)/python -m pytest -m fuzz --timeout 3600 $(ARGS)

moving: env ## Move a site of event-routing-backends over, and compare what reaches its destinations
	@$(BIN)/python $(wildcard plugins/*/tests/moving/moving_over.py) $(ARGS)

lock: env ## Recompile constraints.txt (ARGS=--upgrade takes newer versions)
	@$(TOOL)/lock.py $(ARGS)

pythons: env ## Fetch the Pythons that Debian has in newer releases alone (3.14, 3.15), for test-all
	@$(BIN)/python tools/pythons.py

wheels: env ## Build the wheels and the source archive of every distribution into dist/
	@$(BIN)/python tools/wheels.py

release-check: env ## Build all, look into it, compare it with the last release, and try each distribution alone (ARGS=--built for what is in dist/)
	@$(BIN)/python tools/release_check.py $(ARGS)

check-seams: env ## Take each plugin away in turn, and try the rest (ARGS= for names)
	@$(BIN)/python tools/check_seams.py $(ARGS)

changelog: env ## Print the next section of the changelog, from its fragments
	@$(TOOL)/changelog.py

site: env ## Build the documents as a site, in site/
	@$(BIN)/python tools/docs_site.py

services: env ## Fetch the servers and scripts that the tests need (mongod, redis-server, axe-core)
	@$(BIN)/python -m eventtracking_testkit.services

clean: ## Remove builds and caches
	rm -rf dist build site core/build .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -not -path './.v*' -not -path './.uv/*' -prune -exec rm -rf {} +

distclean: clean ## Remove the environments too
	rm -rf .venv .venvs .uv
