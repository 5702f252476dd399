# The one way in: `make help` lists the targets. CI and people call the same ones.
#
# PYTHON: the interpreter the virtual environment is made with (3.10 or newer).
# TEST_ARGS: further arguments for pytest.
# JOBS: how many processes run the Python tests; each has a local cluster of its own. 0: one, that can be debugged.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs' 2>/dev/null)

# Every install is held to the versions that were tested, those of build tools too.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all dev fmt lint types test-rust bench wheel clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: dev  ## Build all, start a local cluster, and do with it what a busy worker does
	$(BIN)/dsql-fast demo

test: dev test-rust  ## Run the tests (long checks in their short form)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not full" $(TEST_ARGS)

test-all: dev test-rust  ## Run the tests, long checks in full, and build and try the wheel
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(TEST_ARGS)

dev: $(VENV)/.built  ## Make .venv: release build, all extras, test tools

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

# An editable install: Python files are used where they stand, the native module is built into place.
$(VENV)/.built: $(VENV)/.installed $(RUST_SOURCES)
	$(BIN)/maturin develop --quiet --release --locked --extras bench,binary,cli,local,psycopg2
	touch $@

fmt:  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet . || true
	cargo fmt

lint: dev  ## ruff, rustfmt, clippy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	cargo fmt --check
	cargo clippy --locked --quiet --all-targets -- -D warnings
	cargo clippy --locked --quiet --all-targets --no-default-features -- -D warnings

types: dev  ## mypy (strict, tests too), pyright on the public types, stubtest
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/stubtest dsql_fast._native

test-rust:  ## The Rust tests, without any Python
	cargo test --locked --quiet --no-default-features

bench: dev  ## Measure: ratios against named peers, in one run
	$(BIN)/dsql-fast bench

wheel: dev  ## Build the wheel into dist/
	$(BIN)/maturin build --release --locked --out dist

clean:  ## Remove what was built
	rm -rf $(VENV) target dist
	find python -name '*.so' -delete
