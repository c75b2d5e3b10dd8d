# `make` alone lists the targets. Every target may be run again at any time; what is up to date is not done twice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-stamp
DEV := $(VENV)/.dev-stamp
# One more than the cores that CI has: much of what the tests do is waiting for processes and disks. No test asserts how
# long something takes on a quiet machine.
JOBS ?= 3
# For `make faults`.
MINUTES ?= 30
SEED ?= 1
BENCHMARKS ?= help_time worktree_ready kill_latency supervision_cpu gateway_latency adapter_parsing scale \
	scheduler_pass live_page metrics_scrape flower_scale analysis_speed report_scale telemetry timeline interop_scale \
	reaction one_second_jobs queue_throughput

.DEFAULT_GOAL := help
.PHONY: help demo test check lint programs bench pictures faults fmt agents reference browser llama lock clean

help:  ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME)  ## Run the demo experiment with scripted models: no key, no cost; ends with a report
	@ops/install-agents demo
	@$(BIN)/python examples/demo/run_demo.py

test: programs  ## Run every test
	@$(BIN)/pytest -n $(JOBS) $(ARGS)

# The type checker takes one core and what the tests need comes over the network, so both at once.
check: $(DEV)  ## Everything that CI runs: lint, format, types, layers, tests
	@$(MAKE) --no-print-directory --jobs 2 lint programs
	@$(MAKE) --no-print-directory test

lint: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

programs: $(DEV) browser
	@ops/install-agents tests & ops/install-mini $(VENV) && wait $$!

bench: $(DEV)  ## Run the benchmarks, which state their limits
	@missed=""; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || missed="$$missed $$name"; \
	done; if [ -n "$$missed" ]; then echo "missed their limits:$$missed"; exit 1; fi

pictures: $(DEV) browser  ## Make the pictures of the documents anew, of the last demo
	@$(BIN)/python -m docs.make_pictures $(ARGS)

faults: $(DEV)  ## Hurt small runs at random for 30 minutes and print what broke; MINUTES=5 SEED=7
	@$(BIN)/python -m tests.faults.harness --minutes $(MINUTES) --seed $(SEED) $(ARGS)

fmt: $(DEV)  ## Format the code and repair what the linter can
	@$(BIN)/ruff check --fix --exit-zero .
	@$(BIN)/ruff format .

# Runs as a recipe and not as a prerequisite, so that a machine without node or network still gets the rest.
agents: $(RUNTIME)  ## Install every pinned coding agent, 3.2 GB (needs node, npm and Python 3.12)
	@ops/install-agents all & ops/install-mini $(VENV) && ops/install-python-agents $(VENV) && wait $$!

reference: $(DEV)  ## Write the generated pages of docs/reference anew: commands, outcomes, schemas, agents' cases
	@$(BIN)/python -m tests.support.reference_pages && $(BIN)/python -m tests.contract.agent_table

browser:
	@ops/install-test-deps

llama: $(DEV)  ## Build the real llama.cpp server that some tests use (some minutes; cmake, ninja, C++)
	@ops/install-llama $(VENV)

lock: $(DEV)  ## Pin the dependencies of pyproject.toml anew
	@ops/lock

clean:  ## Remove what the targets above made, the demo's results included
	rm -rf $(VENV) ops/agents/node_modules ops/agents/node/node_modules ops/agents/npm/node_modules ops/agents/mini \
		ops/agents/aider ops/agents/vibe ops/agents/openhands ops/agents/bin .bakeoff/demo build dist *.egg-info .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.lock ops/uv.lock ops/make-venv pyproject.toml
	@ops/make-venv $(PYTHON) $(VENV) requirements.lock
	@touch $@

# The dev lock contains the runtime lock, version for version, so one venv serves both.
$(DEV): requirements-dev.lock ops/uv.lock ops/make-venv pyproject.toml
	@ops/make-venv $(PYTHON) $(VENV) requirements-dev.lock
	@touch $(RUNTIME) $@
