# `make` lists what there is to make.

PYTHON ?= python3
VENV ?= .venv
VENV_FAIRCHEM ?= .venv-fairchem
VENV_LOWEST ?= .venv-lowest
LOWEST_TORCH ?=
SEEDS ?= 0

IN_VENV = $(VENV)/bin/python
STAMP = $(VENV)/.installed
IN_VENV_FAIRCHEM = $(VENV_FAIRCHEM)/bin/python
STAMP_FAIRCHEM = $(VENV_FAIRCHEM)/.installed
IN_VENV_LOWEST = $(VENV_LOWEST)/bin/python
STAMP_LOWEST = $(VENV_LOWEST)/.installed

.DEFAULT_GOAL := help
.PHONY: help env env-fairchem env-lowest demo test test-fairchem test-lowest test-slow coverage lint docs bench gpu-check engines-check clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{ printf "  %-14s %s\n", $$1, $$2 }'
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) VENV_FAIRCHEM=$(VENV_FAIRCHEM) SEEDS=$(SEEDS)"
	@echo "VENV_LOWEST=$(VENV_LOWEST) LOWEST_TORCH=$(LOWEST_TORCH), where the lowest torch cannot be had"

env: $(STAMP) ## create the virtual environment VENV with PYTHON, once

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(IN_VENV) -m pip install --upgrade pip
	$(IN_VENV) -m pip install -e '.[mace,sweep,xtb,pyg,hub,dev,docs]'
	touch $@

env-fairchem: $(STAMP_FAIRCHEM) ## create VENV_FAIRCHEM, where teachers of fairchem-core label (2.4 GB), once

$(STAMP_FAIRCHEM): pyproject.toml
	$(PYTHON) -m venv $(VENV_FAIRCHEM)
	$(IN_VENV_FAIRCHEM) -m pip install --upgrade pip
	$(IN_VENV_FAIRCHEM) -m pip install -e '.[fairchem,dev]'
	touch $@

env-lowest: $(STAMP_LOWEST) ## create VENV_LOWEST with the lowest versions that pyproject.toml admits, once

$(STAMP_LOWEST): pyproject.toml
	$(PYTHON) -m venv $(VENV_LOWEST)
	$(IN_VENV_LOWEST) -m pip install --upgrade pip
	TORCH=$(LOWEST_TORCH) $(IN_VENV_LOWEST) .ci/lowest_versions.py > $(VENV_LOWEST)/lowest.txt
	$(IN_VENV_LOWEST) -m pip install -e '.[mace,sweep,xtb,pyg,hub,dev]' -c $(VENV_LOWEST)/lowest.txt
	touch $@

demo: env ## train three students on the example with SEEDS, and compare them in outputs/demo/report.html
	rm -rf outputs/demo
	$(IN_VENV) -m jointkd.train -m experiment=demo method=none,hessian,joint seed=$(SEEDS)
	$(IN_VENV) -m jointkd.report runs=outputs/demo
	@echo "open outputs/demo/report.html"

test: env ## run the tests that take seconds
	$(IN_VENV) -m pytest -n auto

coverage: env ## run the same tests and print which share of each file they run
	$(IN_VENV) -m pytest -n auto --cov=jointkd

test-lowest: env-lowest ## run the same tests with the lowest versions
	$(IN_VENV_LOWEST) -m pytest -n auto

test-fairchem: env-fairchem ## run the tests that need fairchem-core
	$(IN_VENV_FAIRCHEM) -m pytest tests/fairchem_env

test-slow: env ## run the tests that take minutes
	$(IN_VENV) -m pytest -m slow

lint: env ## check style, types and the direction of imports
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy
	$(VENV)/bin/lint-imports

docs: env ## build the documentation with its API reference in build/docs; a broken link or name is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet

bench: env ## time a training step and the labelling
	$(IN_VENV) -m jointkd.bench

gpu-check: env ## measure parity, times and memory on a GPU; SPICE=solvated-amino-acids.hdf5, and STUDENT=RUN for dynamics
	$(IN_VENV) -m tests.benchmarks.gpu $(SPICE) $(if $(STUDENT),--student $(STUDENT))

engines-check: ## run examples/ in the engines that VENV has, and compare them with ASE; STUDENT=FILE
	$(IN_VENV) -m tests.benchmarks.engines $(STUDENT)

clean: ## remove the virtual environments and caches; outputs/ stays
	rm -rf $(VENV) $(VENV_FAIRCHEM) $(VENV_LOWEST) build dist .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find jointkd tests -name __pycache__ -type d -prune -exec rm -rf {} +
