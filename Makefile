# The only door to the workshop. Everything made is stamped by a file, so that nothing is done twice and a second call
# needs no network. Works with GNU make 3.81 (macOS) and 4.x, also with -j.

ifeq ($(OS),Windows_NT)
$(error runstate runs on Linux and macOS; on Windows use the Linux subsystem (WSL))
endif

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# "n" under make -n, which only shows what would be done.
ONLY_SHOW := $(findstring n,$(firstword -$(MAKEFLAGS)))
MAKEFLAGS += --no-print-directory

# The machine's own certificates, since a company's proxy is known to them alone; and no downloads besides packages.
export UV_SYSTEM_CERTS ?= 1
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1
export npm_config_audit := false
export npm_config_fund := false
export npm_config_update_notifier := false
unexport VIRTUAL_ENV

BIN := .venv/bin
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
ENVIRONMENT := .venv/.ready
MODULES := web/node_modules/.ready
BUNDLE := src/runstate/server/dashboard/index.html
WEB_SOURCES := $(shell find web \( -name node_modules -o -name dist -o -name test \) -prune \
    -o -type f -not -name '*.tsbuildinfo' -print 2>/dev/null)
CHECKS := lint types arch web-check unit

.PHONY: help demo test setup web lint types arch web-check unit rules reference screenshots sweep bench fmt dist clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

# make exits 0 or 2 whatever its recipe says, except when it is asked a question (-q): then 1 means "no". So that
# `make demo ONCE=1` exits as the run did, make is asked whether the run exited 0. Lines with + run even then.
ifneq ($(MAKECMDGOALS)$(if $(ONCE), once)$(ONLY_SHOW),demo once)
demo: setup web ## set up, run the main job, serve the dashboard (ONCE=1: run once, no browser, exit 0 on success)
	@$(BIN)/runstate demo $(if $(ONCE),--once)
else
MAKEFLAGS += -q
STATUS := $(shell mktemp)
.PHONY: .demo-once

.demo-once:
	+@MAKEFLAGS= $(MAKE) -s setup web || { rm -f $(STATUS); exit 1; }
	+@$(BIN)/runstate demo --once; echo $$? >$(STATUS)

demo: .demo-once
	$(if $(filter 0,$(shell cat $(STATUS); rm -f $(STATUS))),,@false)
endif

test: setup web ## set up, then run every check and every test; the last line is the verdict
	@sh scripts/browser.sh
	@failed=; for check in $(CHECKS); do \
	    echo "== make $$check"; \
	    $(MAKE) $$check || failed="$$failed $$check"; \
	done; \
	if [ -n "$$failed" ]; then echo "make test: FAILED:$$failed"; exit 1; fi; \
	echo "make test: all passed: $(CHECKS)"

setup: $(ENVIRONMENT) ## make .venv from uv.lock, with whatever that needs

$(ENVIRONMENT): pyproject.toml uv.lock hatch_build.py
	@sh scripts/setup.sh

web: $(BUNDLE) ## build the dashboard from web/

$(MODULES): web/package-lock.json
	@sh scripts/web.sh install

$(BUNDLE): $(WEB_SOURCES) | $(if $(shell command -v npm 2>/dev/null),$(MODULES))
	@sh scripts/web.sh build

lint: setup ## ruff's rules and format, and whether uv.lock fits pyproject.toml
	@$(UV) lock --check --offline --quiet || { echo "uv.lock does not fit pyproject.toml; run 'uv lock'"; exit 1; }
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check || { echo "run 'make fmt'"; exit 1; }

types: setup ## mypy, strict
	@$(BIN)/mypy src $(wildcard tests/typing benchmarks)

arch: setup ## the arrows between the packages, by import-linter
	@$(BIN)/lint-imports --no-logo

web-check: web ## biome, tsc, dependency-cruiser and vitest
	@sh scripts/web.sh check

unit: setup web ## the Python tests (ARGS="tests/core -x" goes to pytest)
	@$(BIN)/pytest $(or $(ARGS),-n 2 --dist loadfile)

rules: setup ## write which test holds which rule into docs/protocol.md
	@$(BIN)/python -m tests.meta.test_rules

reference: setup ## write OpenAPI, AsyncAPI and JSON Schema into docs/reference/
	@$(BIN)/python -m tests.meta.test_contract

screenshots: setup web ## each page of the dashboard in light and dark, into docs/images
	@$(BIN)/python -m tests.browser.screenshots

sweep: setup ## kill the server at every write and at 200 random times, race 1600 starts, flood: what `make test` takes samples of
	@RUNSTATE_SWEEP=1 $(BIN)/pytest -s -n0 tests/sweep tests/acceptance/test_misbehaviour.py \
	    && echo "make sweep: all passed" || { echo "make sweep: FAILED"; exit 1; }

bench: setup web ## measure ours, the limit and the peers (FULL=1: the whole table, an hour or so; ROWS="poll run": only these)
	@$(BIN)/python -m benchmarks $(if $(FULL),--full) $(ROWS)

fmt: setup $(MODULES) ## format the code, and mend what ruff and biome can
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format
	@cd web && npm run --silent format

dist: setup web ## the wheel and the source distribution, in dist/
	@rm -rf dist
	@$(UV) build --out-dir dist --quiet
	@ls dist

clean: ## remove everything that make made
	rm -rf .venv .uv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf web/node_modules src/runstate/server/dashboard benchmarks/peers/.venv benchmarks/peers/node_modules
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
