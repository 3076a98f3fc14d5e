# Everything a newcomer needs: make install, make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2

.PHONY: install demo test test-all lint bench faults results clean

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

demo: install
	$(BIN)/tutelage demo --out runs/demo

test: install lint
	$(BIN)/pytest -n 2 --dist worksteal

test-all: install lint  # with the rows that the default leaves out, as others hold the same property
	$(BIN)/pytest -n 2 --dist worksteal -m ''

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/methods.py

faults: install
	$(BIN)/python benchmarks/faults.py --jobs $(JOBS)

results: install  # asks where it takes more than an hour; `make results YES=--yes` does not
	$(BIN)/tutelage sweep results/plan.toml --jobs $(JOBS) $(YES)
	$(BIN)/tutelage report results

clean:
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache
