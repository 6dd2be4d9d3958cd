# `make` lists what there is to make.

PYTHON ?= python3
VENV ?= .venv
SEEDS ?= 0

IN_VENV = $(VENV)/bin/python
STAMP = $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env demo test test-slow lint bench clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{ printf "  %-10s %s\n", $$1, $$2 }'
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) SEEDS=$(SEEDS)"

env: $(STAMP) ## create the virtual environment VENV with PYTHON, once

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(IN_VENV) -m pip install --upgrade pip
	$(IN_VENV) -m pip install -e '.[mace,sweep,xtb,dev]'
	touch $@

demo: env ## train three students on the example with SEEDS, and compare them in outputs/demo
	rm -rf outputs/demo
	$(IN_VENV) -m jointkd.train -m experiment=demo method=none,hessian,joint seed=$(SEEDS)
	$(IN_VENV) -m jointkd.report runs=outputs/demo

test: env ## run the tests that take seconds
	$(IN_VENV) -m pytest

test-slow: env ## run the tests that take minutes
	$(IN_VENV) -m pytest -m slow

lint: env ## check style, types and the direction of imports
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy
	$(VENV)/bin/lint-imports

bench: env ## time a training step and the labelling
	$(IN_VENV) -m jointkd.bench

clean: ## remove the virtual environment and caches; outputs/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find jointkd tests -name __pycache__ -type d -prune -exec rm -rf {} +
