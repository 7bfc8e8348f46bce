# make up     set everything up and run Bedplate on this machine
# make test   set everything up and run every check and test that CI runs
# make help   the other targets

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .venv-clients
SOURCES := core store providers sessions guardrails gateway migrations

.PHONY: up test check format docs test-long bench help clean

help:
	@echo "make up         install what is missing, then run everything in the foreground (ARGS=... for bedplate up)"
	@echo "make test       install what is missing, then run all checks and tests"
	@echo "make check      only format, lint, import contracts and types"
	@echo "make format     rewrite the code in its format"
	@echo "make docs       rewrite the pages that are written from the code"
	@echo "make test-long  kills, soak and the other long suites"
	@echo "make bench      the benchmarks"
	@echo "make clean      remove the environments of this folder (the engine stays in the user's cache)"

up: $(VENV)/.up
	@$(BIN)/bedplate up $(ARGS)

test: check $(CLIENTS)/.ready
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff format --check $(SOURCES) tests bench
	$(BIN)/ruff check $(SOURCES) tests bench
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(VENV)/.test
	$(BIN)/ruff format $(SOURCES) tests bench
	$(BIN)/ruff check --fix $(SOURCES) tests bench

docs: $(VENV)/.test
	$(BIN)/python -m tests.docs.compatibility

test-long: $(VENV)/.test $(CLIENTS)/.ready
	$(BIN)/python -m pytest -m long $(ARGS)

bench: $(VENV)/.test
	$(BIN)/python -m bench.path $(ARGS)

clean:
	rm -rf $(VENV) $(CLIENTS)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"error: Python 3.11, 3.12 or 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}; run: make PYTHON=/path/to/python3.11 ...")'
	@$(PYTHON) -m venv $(VENV) || { echo "error: $(PYTHON) -m venv failed; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@touch $@

$(VENV)/.up: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing Bedplate into $(VENV) (about a minute the first time)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.up
	@echo "Installing the test tools into $(VENV)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[guardrails,models,test]'
	@touch $@

# The official SDKs in an environment of their own, as an application would have them.
$(CLIENTS)/.ready: $(VENV)/.python tests/clients/requirements.txt
	@echo "Installing the official SDKs into $(CLIENTS)"
	@$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --disable-pip-version-check -r tests/clients/requirements.txt
	@touch $@
