# One task per check; `.ci/run` calls the same ones.  PYTHON chooses the environment.
PYTHON ?= python
.PHONY: check lint types test gpu docs notebooks format package

check: lint types test docs notebooks

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

# On a machine with a GPU.  Most of the time goes to compiling kernels, so several processes do it.
gpu:
	$(PYTHON) -m pytest -m gpu -n auto --maxprocesses 4 tests/gpu
	$(PYTHON) tests/benchmarks/gpu.py

docs:
	$(PYTHON) -m sphinx -W --keep-going -q -b html docs docs/_build/html

notebooks:
	$(PYTHON) docs/_ext/run_notebooks.py

package:
	rm -rf dist
	$(PYTHON) -m build
	$(PYTHON) -m twine check --strict dist/*
	$(PYTHON) -m check_wheel_contents dist/*.whl
