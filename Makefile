# mailforum: `make run` shows it, `make test` tests it. Both set up what they need by themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help run test check format bench bench-pg chaos hosts races moving soak fuzz wheel clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

run: $(VENV)/.ready ## set up, and show mailforum at work on this machine only
	$(BIN)/mailforum demo

test: $(VENV)/.ready-dev ## set up, and run the tests
	$(BIN)/python -m pytest -n auto --dist worksteal

check: $(VENV)/.ready-dev ## style, types and the layers of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready-dev ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready-dev ## measure speed on this machine, as a table
	$(BIN)/python -m tests.bench

bench-pg: $(VENV)/.ready-dev ## the same on PostgreSQL, beside SQLite
	$(BIN)/python -m tests.bench.postgres

chaos: $(VENV)/.ready-dev ## kill the server at every stage while mail flows; nothing may be lost (CHAOS="--kills 1000")
	$(BIN)/python -m tests.chaos $(CHAOS)

hosts: $(VENV)/.ready-dev ## two hosts and a PostgreSQL on a network of their own, and all that befalls them; as root (HOSTS="--rounds 5")
	$(BIN)/python -m tests.hosts $(HOSTS)

races: $(VENV)/.ready-dev ## two hosts on one PostgreSQL decide about the same at the same moment (RACES="--rounds 5000")
	$(BIN)/python -m tests.races $(RACES)

moving: $(VENV)/.ready-dev ## move a large site to PostgreSQL and back while everything goes wrong (MOVING="--posts 1000000")
	$(BIN)/python -m tests.moving $(MOVING)

soak: $(VENV)/.ready-dev ## ten minutes of everything at once; memory and open files stay flat (SOAK="--minutes 60")
	$(BIN)/python -m tests.soak $(SOAK)

fuzz: $(VENV)/.ready-dev ## say all kinds of things to the server, and to the readers of archives (FUZZ="--seconds 600")
	$(BIN)/python -m tests.fuzz $(FUZZ)

wheel: $(VENV)/.ready-dev ## build the package into dist/
	$(BIN)/python -m build --wheel

clean: ## remove what was built and set up
	rm -rf $(VENV) dist build demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys, ensurepip; sys.exit("mailforum needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[speed]'
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[speed,dev]'
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[postgres-server]' || true
	touch $@
