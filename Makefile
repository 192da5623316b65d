# `make demo` and `make test` are all a newcomer needs; both install first, and only once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-pack test-slow lint types wheel clean

demo: $(STAMP)
	$(BIN)/edgesr demo --out out/demo --force

# A process for each core, with one thread each; what shares an adb server stays in one process.
test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not pack and not slow" -n auto --maxprocesses 4 --dist loadgroup

# Needs the data and weight pack: EDGESR_PACK=/path/to/pack make test-pack
test-pack: $(STAMP)
	$(BIN)/python -m pytest -m pack

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The wheel has the physical layout that type checkers understand.
types: wheel
	rm -rf build/types && $(BIN)/python -m zipfile -e dist/edgesr-*.whl build/types
	$(BIN)/mypy build/types/edgesr

wheel: $(STAMP)
	rm -rf dist build && $(BIN)/python -m build --wheel --no-isolation --outdir dist .

$(STAMP): pyproject.toml .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
