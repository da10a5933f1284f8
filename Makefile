# One task per check; `.ci/run` calls the same ones.  PYTHON chooses the environment.
PYTHON ?= python
.PHONY: check lint types test docs format

check: lint types test docs

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest

docs:
	$(PYTHON) -m sphinx -W --keep-going -q -b html docs docs/_build/html
