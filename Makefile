# The one way in: `make help` lists the targets. CI and people call the same ones.
#
# PYTHON: the interpreter the virtual environment is made with (3.10 or newer).
# TEST_ARGS: further arguments for pytest.
# BENCH_ARGS: further arguments for `dsql-fast bench`.
# JOBS: how many processes run the Python tests; each has a local cluster of its own. 0: one, that can be debugged.
# COMPILERS: how many compilers build a CPython at a time.
# DIST: where wheels go.

PYTHON ?= python3
JOBS ?= 2
COMPILERS ?= $(shell nproc 2>/dev/null || echo 2)
DIST ?= dist
VENV := .venv
BIN := $(VENV)/bin
FREETHREADED := .venv-freethreaded
# What has threads, and the drivers that there are for such a Python; the clusters run on .venv's.
FREETHREADED_TESTS := tests/freethreaded tests/native tests/tokens tests/asyncpg_driver tests/connect tests/pools
# psycopg2 has no wheel for it, and these import it.
FREETHREADED_IGNORED := $(addprefix --ignore=tests/,asyncpg_driver/test_private_parts.py connect/test_connect_host.py \
	connect/test_several_endpoints.py tokens/test_assume_role.py tokens/test_chain_failures.py \
	tokens/test_failing_sources.py)
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs' 2>/dev/null)

# Every install is held to the versions that were tested, those of build tools too.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all dev fmt lint types test-rust bench bench-guard bench-guard-update bench-threads report wheel clean \
	python-freethreaded test-freethreaded wheel-freethreaded

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: dev  ## Build all, start a local cluster, and do with it what a busy worker does
	$(BIN)/dsql-fast demo

test: dev test-rust  ## Run the tests (long checks in their short form)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not full" $(TEST_ARGS)

test-all: dev test-rust  ## Run the tests, long checks in full, and build and try the wheel
	@# Where there can be none, the tests that need one say so and are skipped.
	$(PYTHON) tools/freethreaded/interpreter.py --jobs $(COMPILERS) || true
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
	$(BIN)/dsql-fast bench $(BENCH_ARGS)

report: dev  ## Write the pages' figures and README's chart from docs/performance/figures.json
	$(BIN)/python tools/performance_report.py

bench-guard: dev  ## Count instructions of a hit, a signature, a connect; fail beyond the baseline
	$(BIN)/python benches/guard

bench-guard-update: dev  ## Write those counts as the baseline
	$(BIN)/python benches/guard --update

bench-threads: dev  ## Hits a second of the core alone, by one thread and by two, as JSON
	cargo bench --locked --quiet --no-default-features --bench native -- threads

wheel: dev  ## Build the wheel into dist/
	$(BIN)/maturin build --release --locked --out $(DIST)

python-freethreaded:  ## Build a CPython without the GIL, once, from Debian's source package
	$(PYTHON) tools/freethreaded/interpreter.py --jobs $(COMPILERS)

$(FREETHREADED)/.installed: pyproject.toml constraints.txt
	interpreter=$$($(PYTHON) tools/freethreaded/interpreter.py --jobs $(COMPILERS)) && \
		{ test -x $(FREETHREADED)/bin/python || "$$interpreter" -m venv $(FREETHREADED); }
	$(FREETHREADED)/bin/python -m pip install --quiet --upgrade pip
	$(FREETHREADED)/bin/python -m pip install --quiet --group freethreaded
	touch $@

# The group, lest maturin install the one that it takes by itself, dev.
# The module has a name of its own (no abi3), and lies beside the ordinary one. psycopg is the pure one, over libpq5.
$(FREETHREADED)/.built: $(FREETHREADED)/.installed $(RUST_SOURCES)
	VIRTUAL_ENV=$(CURDIR)/$(FREETHREADED) $(FREETHREADED)/bin/maturin develop --quiet --release --locked --group freethreaded
	touch $@

test-freethreaded: dev $(FREETHREADED)/.built  ## Run the tests of what has threads on that Python
	DSQL_FAST_LOCAL_PYTHON=$(CURDIR)/$(BIN)/python $(FREETHREADED)/bin/python -m pytest \
		-n $(JOBS) --dist loadfile -m "not full" $(FREETHREADED_TESTS) $(FREETHREADED_IGNORED) $(TEST_ARGS)

# Needs no such Python: maturin knows its ABI. zig links for the oldest glibc that Rust supports.
wheel-freethreaded: dev  ## Build the wheel for it into dist/, for manylinux
	$(BIN)/python -m pip install --quiet --group wheels
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/maturin build --release --locked --zig --compatibility manylinux_2_17 \
		--target $$(rustc --print host-tuple) --interpreter python3.14t --out $(DIST)

clean:  ## Remove what was built
	rm -rf $(VENV) $(FREETHREADED) target dist
	find python -name '*.so' -delete
