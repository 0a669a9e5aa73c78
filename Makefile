# Everything a newcomer, a developer and CI do. Needs Python 3.11 or later with venv, and a registry that pip can reach.
# No root, no system packages (only `make bench` may install some).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header \
	--custom-compile-command "make lock"

# Where `make tools` puts what no registry of Python has.
export PATH := $(CURDIR)/build/tools/usr/bin:$(PATH)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test tools compiled test-compiled lint format schema image bench lock clean

help: ## Say what there is.
	@echo "make run     start a vendor, a sidecar before it, and calls through it (ARGS=--once: stop after them)"
	@echo "make test    all tests (ARGS=\"tests/core -k alarm\": some of them; REQUIRE_TOOLS=1: none is skipped)"
	@echo "make tools   fetch promtool for the tests of the alerts, if it is not here; by apt, without root"
	@echo "make compiled  the package with its hot path compiled, in build/compiled; needs a C compiler"
	@echo "make test-compiled  all tests against that; says so and does nothing where no C compiler is"
	@echo "make lint    ruff, mypy, hadolint"
	@echo "make format  let ruff put the code in form"
	@echo "make schema  the schema of the chart's values anew, after a change of what the config may hold"
	@echo "make image   build the image without an engine and try it as a pod would; needs root and Debian"
	@echo "make bench   side by side with other proxies; takes minutes, may install system packages"
	@echo "make lock    pin the dependencies anew (UPGRADE=1: at their newest)"
	@echo "make clean   remove what was made here"
	@echo "PYTHON=python3.13 chooses the interpreter of the virtual environment ($(VENV))."

run: $(VENV)/.run
	@$(BIN)/python -m sidecar demo $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/python -m pytest $(ARGS)

tools:
	@bash tools/promtool.sh

compiled: build/compiled/.made

build/compiled/.made: $(VENV)/.dev tools/compile.py $(shell find sidecar -name '*.py' -o -name '*.toml')
	@echo "compiling the hot path"
	@mkdir -p build/compiled
	@$(BIN)/python tools/compile.py build/compiled >build/compile.log 2>&1 || { tail -n 20 build/compile.log; exit 1; }
	@touch $@

# The tests run beside the compiled package, in a tree of their own, so that no source stands in its way; but for those
# of what is never compiled.
UNCOMPILED := $(addprefix --ignore=tests/,helm operations kubernetes config)
test-compiled: $(VENV)/.dev
	@if ! command -v cc >/dev/null 2>&1; then echo "no C compiler is here; the compiled package is not tested"; exit 0; fi; \
	$(MAKE) --no-print-directory compiled \
	&& rm -rf build/compiled/tests \
	&& cp -r tests docs helm tools bench requirements*.lock README.md CHANGELOG.md sidecar.toml pyproject.toml Makefile build/compiled \
	&& cd build/compiled && $(CURDIR)/$(BIN)/python -m pytest $(UNCOMPILED) $(ARGS)

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/hadolint Dockerfile

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

schema: $(VENV)/.dev
	@PYTHONPATH=. $(BIN)/python tools/values_schema.py

image: $(VENV)/.dev
	@bash tools/image.sh

bench:
	@bash bench/run.sh $(ARGS)

# A name of a registry or a path of this machine in a lock would not work elsewhere, so such a lock is refused.
lock: $(VENV)/.dev
	@$(UV_COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --output-file requirements.lock
	@$(UV_COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml requirements-dev.in --constraint requirements.lock \
		--output-file requirements-dev.lock
	@$(UV_COMPILE) requirements-build.in --constraint requirements-dev.lock --output-file requirements-build.lock
	@! grep -nE '://|index-url|find-links|@ +file' requirements*.lock

clean: ## The virtual environment too.
	@rm -rf $(VENV) .venv-bench bench/.work .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip's script is the last thing that venv writes: when it is there, the environment is whole.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one: make PYTHON=python3.13 ...")'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)

# A stamp is written when all of a lock is installed, so the next run installs nothing until the lock changes.
$(VENV)/.run: requirements.lock | $(BIN)/pip
	@echo "installing what sidecar needs"
	@$(PIP_INSTALL) --only-binary :all: -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(BIN)/pip
	@echo "installing what the tests need"
	@$(PIP_INSTALL) -r requirements-dev.lock
	@touch $@ $(VENV)/.run
