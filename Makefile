# Everything runs from one virtual environment, made on first use.
PYTHON ?= python3
BIN := .venv/bin
BUILT := pyproject.toml constraints.txt hatch_build.py $(wildcard src/fanin/_engine/*.[ch])

.PHONY: tour test quick check bench docs clean

tour: .venv/run  ## the story on real data: problem, cause, cure, proof (under two minutes)
	$(BIN)/fanin tour

test: .venv/dev  ## every test
	$(BIN)/python -m pytest -n auto

quick: .venv/dev  ## the tests that take under three minutes in all
	$(BIN)/python -m pytest -n auto -m "not slow"

check: .venv/dev  ## format, lint, types, import direction, public surface, documentation coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/conformance/test_public_surface.py

bench: .venv/dev  ## speed, memory and five minutes of trainings, as ratios, on an idle machine
	$(BIN)/python bench/run.py
	$(BIN)/python bench/run.py --only convergence --quick

docs: .venv/dev  ## the documentation site, in docs/_build
	$(BIN)/sphinx-build --fail-on-warning --quiet -b html docs docs/_build

clean:
	rm -rf .venv docs/_build dist build src/fanin/_engine/libcore.*

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fanin needs Python 3.11 or newer; say make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python $(BUILT)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[plot]'
	touch $@

.venv/dev: .venv/run
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[plot,test,zoo,check,docs]'
	touch $@
