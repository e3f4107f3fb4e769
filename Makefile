# Two commands matter to a newcomer: `make demo` and `make test`. Both create what they need.
PYTHON ?= python3
EDGE := .venv-edge
TRAIN := .venv-train
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check
ARGS ?=

.PHONY: help demo test test-edge test-train check format train convert bench clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

$(EDGE)/.ready: requirements-edge.txt requirements-demo.txt requirements-test.txt
	@echo "Creating the device's environment in $(EDGE) (about a minute) ..." >&2
	@$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), "Python 3.11 to 3.13 is needed, this is %d.%d; name one with PYTHON=python3.12" % sys.version_info[:2]'
	@$(PYTHON) -m venv $(EDGE)
	@$(EDGE)/bin/python $(PIP_INSTALL) -r requirements-demo.txt -r requirements-test.txt
	@touch $@

$(TRAIN)/.ready: requirements-train.txt requirements-test.txt
	@echo "Creating the workstation's environment in $(TRAIN) (TensorFlow: a few minutes) ..." >&2
	@$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), "Python 3.11 to 3.13 is needed, this is %d.%d; name one with PYTHON=python3.12" % sys.version_info[:2]'
	@$(PYTHON) -m venv $(TRAIN)
	@$(TRAIN)/bin/python $(PIP_INSTALL) -r requirements-train.txt
	@touch $@

demo: $(EDGE)/.ready ## the main job with nothing set up: clip, pipeline, broker, subscriber
	@$(EDGE)/bin/python -m edge demo $(ARGS)

test: test-edge test-train ## every test, in the environment it is about

test-edge: $(EDGE)/.ready ## the device's tests, in the device's environment
	$(EDGE)/bin/python -m pytest tests/edge tests/system $(ARGS)

test-train: $(TRAIN)/.ready ## the workstation's tests, and the device's runtime adapters on the other runtime
	$(TRAIN)/bin/python -m pytest tests/train tests/convert tests/edge/runtimes $(ARGS)

check: $(TRAIN)/.ready ## format, lint, types, import direction
	$(TRAIN)/bin/ruff format --check .
	$(TRAIN)/bin/ruff check .
	$(TRAIN)/bin/mypy
	$(TRAIN)/bin/lint-imports

format: $(TRAIN)/.ready
	$(TRAIN)/bin/ruff format .
	$(TRAIN)/bin/ruff check --fix .

train: $(TRAIN)/.ready ## DATA=fer2013.csv RUN=runs/first
	$(TRAIN)/bin/python -m train fit --data $(DATA) --run $(RUN) $(ARGS)

convert: $(TRAIN)/.ready ## RUN=runs/first
	$(TRAIN)/bin/python -m convert $(RUN) --out models/emotion $(ARGS)

clean: ## environments and caches
	rm -rf $(EDGE) $(TRAIN) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
