# The Python that makes the environment: 3.10 to 3.12. Everything else runs in .venv.
PYTHON ?= python3
SETUP_FLAGS ?=
PYTEST_FLAGS ?=

VENV := $(CURDIR)/.venv
RUN := $(VENV)/bin/python

.PHONY: help setup test lint demo
.DEFAULT_GOAL := help

help: ## show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: ## make or update the environment in .venv, MMCV's compiled operators included
	@$(PYTHON) tools/setup_env.py $(SETUP_FLAGS)

lint: setup ## check style and format
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

test: lint ## set up, lint, then run all tests
	$(RUN) -m pytest $(PYTEST_FLAGS)

demo: setup ## train a light CRAFT on generated text, evaluate it and draw what it sees
	@$(RUN) tools/demo.py
