# Contributors' verbs. Everything they call works without make, too.
PYTHON := .venv/bin/python

.PHONY: setup fix check test bench

setup: .venv/ready

.venv/ready: pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install -q -e '.[dev]'
	touch $@

fix: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: setup
	.venv/bin/pytest -n auto --dist loadfile

bench: setup
	$(PYTHON) -m bench
