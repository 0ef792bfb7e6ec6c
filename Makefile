# Every target needs nothing but Python 3.11 to 3.13; the first one run sets the rest up.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check bench faults soak lock

help: setup ## Show this
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv from the lock file and fetch Kafka and the S3 server
	@$(PYTHON) infra/bootstrap.py

demo: setup ## The whole loop, by itself: [DATASET=path/to/dataset.toml]
	@$(BIN)/millrace demo $(if $(DATASET),"$(DATASET)")

up: setup ## The same system, running until Ctrl-C: [DATASET=path/to/dataset.toml]
	@$(BIN)/millrace up $(if $(DATASET),"$(DATASET)")

# A file's tests stay together, in the order of the files: the long ones come first. Most of the time
# they wait for processes that start, so there are more workers than cores. A worker that
# dies ends the run with its test's name: with another in its place, some of its tests never come.
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart=0
# Trains against the clock of its machines, and so has this one for itself.
ALONE := tests/integration/test_demo.py

test: setup ## All tests, against real servers: [ARGS="-k name"]
	@$(BIN)/python -m pytest $(PARALLEL) $(or $(ARGS),--ignore=$(ALONE))
ifndef ARGS
	@$(BIN)/python -m pytest $(ALONE)
endif

check: setup ## Style, types and the import rule
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: setup ## Speed and memory against peers and limits, about 50 minutes: [ARGS="processing --quick"]
	@$(BIN)/python -m benchmarks $(ARGS)

faults: setup ## Every fault, and what is left of the guarantees after it: [ARGS="--case 'kill@*'"]
	@$(BIN)/python -m tests.faults --seeds 50 $(ARGS)

soak: setup ## Hours of windows, random kills and a topic created anew, judged: [ARGS="--minutes 10"]
	@$(BIN)/python -m tests.faults.soak $(ARGS)

lock: setup ## Renew requirements.lock from pyproject.toml (needs the network)
	@$(BIN)/uv pip compile pyproject.toml --extra all --extra dev --universal \
		--python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
		--upgrade --output-file requirements.lock
