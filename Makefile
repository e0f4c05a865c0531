# Daily targets. Each builds what it needs into .venv and build/; only Python >= 3.11, a C compiler and make are assumed.

PYTHON ?= python3
VENV   ?= .venv
PY      = $(VENV)/bin/python
MINUTES ?= 10
PIP     = $(PY) -m pip install --quiet --disable-pip-version-check
# What runs in the compiled tier, where there is one, and once more in the interpreter.
BOTH_TIERS = tests/workers tests/wasi tests/e2e/test_calls.py tests/e2e/test_host_functions.py
CORE   := pyproject.toml setup.py $(shell find native -type f -not -path '*/generated/*' -not -name '*.pyc' -not -name '*.md')

.PHONY: help demo test chaos check real sanitize fuzz bench plugins prebuilt clean

help:
	@echo "make demo      untrusted plugins in worker processes, in ten seconds"
	@echo "make test      lint, types, our tests, and the official suite where it is found"
	@echo "make chaos     random faults under load for a minute: no call without its one outcome, nothing left behind"
	@echo "make real      fetches CPython, Ruby and SQLite built for WASI, and runs them"
	@echo "make sanitize  the tests on the core built with ASan and UBSan, hostile, portable, by clang, for aarch64"
	@echo "make fuzz      every fuzzer, MINUTES=$(MINUTES) in all; tests/fuzz/README.md says how to read what it finds"
	@echo "make bench     measures beside wasm3 and wasmtime"
	@echo "make plugins   rebuilds the example plugins from their sources"
	@echo "make prebuilt  checks that the committed .wasm files are what their sources give"
	@echo "make clean     removes what the others made"

demo: $(VENV)/.run
	$(VENV)/bin/sandboxhost demo

test: check
	$(PY) -m pytest -q -m "not real"
	SANDBOXHOST_TIER=interpreter $(PY) -m pytest -q $(BOTH_TIERS)
	$(PY) -m tests.official
	$(PY) -m tests.official --tier interpreter
	$(PY) -m tests.differential --tiers --modules 2000

chaos: $(VENV)/.test
	$(PY) -m tests.chaos --faults 1000 --seed 1 --seconds 85

check: $(VENV)/.test
	$(PY) -m ruff check .
	$(PY) -m mypy -p sandboxhost -p sandboxworker -p spectest -p benchmarks

real: $(VENV)/.test
	$(PY) -m tests.real.fetch
	$(PY) -m pytest -q -m real

sanitize: $(VENV)/.test $(VENV)/.bench
	$(PY) -m tests.variants

fuzz: $(VENV)/.test
	$(PY) -m tests.fuzz --minutes $(MINUTES)

bench: $(VENV)/.bench
	$(PY) -m benchmarks compute

plugins: $(VENV)/.bench
	$(PY) plugins_example/build.py

prebuilt: $(VENV)/.bench
	$(PY) -m benchmarks.build --check
	$(PY) plugins_example/build.py --check

clean:
	rm -rf build .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis native/generated workers/sandboxworker/_native*.so *.egg-info

# --- what the targets need; the stamps make a second run quick -----------------------------------------------------------------

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; PYTHON=... names it"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(CORE) | $(PY)
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(PIP) --editable '.[test,dev]' 'setuptools>=77'
	@touch $@

$(VENV)/.bench: $(VENV)/.run
	$(PIP) --editable '.[bench]'
	@touch $@
