PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
CODE := cryptopulse.py core server monitor simulator benchmarks tests

.DEFAULT_GOAL := help
.PHONY: help dev test test-faults check fix monitor monitor-demo picture bench bench-history bench-monitor lock

help: ## what can be made here
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

dev: .venv/ready ## serve prices on this machine: nothing else to install or start (ARGS="--instances 2")
	@exec $(BIN)/cryptopulse dev $(ARGS)

test: .venv/ready ## prove it (ARGS="-k decimals")
	@$(BIN)/pytest $(ARGS)

test-faults: .venv/ready ## prove it again under many faults, some 35 minutes (RUNS=50 OVERLOAD_S=600 SEED=1)
	@$(BIN)/pytest tests/faults -m faults -s -o faulthandler_timeout=900 $(ARGS)

# ASYNC9 wants a checkpoint on every path, ASYNC114 a list of startables, ASYNC124 some stories of tests sync where the
# others are async, ASYNC127 a fork of httpx: not ours.
check: .venv/ready ## format, lint, layers, types and links, as CI runs them
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@find $(CODE) -name '*.py' | xargs $(BIN)/flake8-async --disable=ASYNC9,ASYNC114,ASYNC124,ASYNC127
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy
	@$(BIN)/pytest --quiet tests/test_docs.py -k link

fix: .venv/ready ## format, and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

monitor: .venv/ready ## watch a running `make dev`
	@exec $(BIN)/cryptopulse monitor $(ARGS)

monitor-demo: .venv/ready ## watch a recorded minute of two servers, one of which crashes: nothing else runs
	@exec $(BIN)/cryptopulse monitor --replay monitor/demo.jsonl.gz $(ARGS)

picture: .venv/ready ## draw the README's picture of the monitor from that recording
	@$(BIN)/python -m benchmarks.monitor_picture docs/monitor.svg

bench: .venv/ready ## what batching saves and costs, in one report, under 20 minutes (ARGS=--quick to see that it works)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-history: .venv/ready ## how long a history of 10,000,000 prices takes to read, some 5 minutes (ARGS="--rows 1000000")
	@$(BIN)/python -m benchmarks.history $(ARGS)

bench-monitor: .venv/ready ## what the monitor takes, and what it costs those it watches (ARGS=--servers)
	@$(BIN)/python -m benchmarks.monitor $(ARGS)

lock: ## pin and hash every dependency anew (wants `uv`)
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
		--extra dev --extra web --group test --group lint --group build pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
		pyproject.toml -o requirements-serve.txt

# One stamp says that the environment holds exactly what requirements.txt pins.
.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "CryptoPulse needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "Installing what is pinned into .venv: once, a minute or two"
	@$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
