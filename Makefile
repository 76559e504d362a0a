# Everything a developer types: `make` lists it. Needs python3 (3.11 or newer) and make, nothing else.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8080
ARGS ?=

PY := .venv/bin/python
UV := .venv/bin/uv
SOURCES := gateway policy providers metering migrations tests benchmarks deploy
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

# One stamp per layer, each newer than the lock file it was installed from.
TOOLS := .venv/.tools
PROD := .venv/.prod
DEV := .venv/.dev
CLIENTS := .venv-clients/.installed

.PHONY: help setup serve test check bench bench-ledger bench-pages bench-translate prove prove-availability prove-canary prove-crash prove-crowd prove-fuzz prove-ledger prove-mutation prove-points lock screenshots
.DEFAULT_GOAL := help

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

setup: $(DEV) ## everything for development, into .venv, hash-locked

serve: $(PROD) ## what is needed to run, then `tollway demo` (HOST=127.0.0.1 PORT=8080)
	@exec env TOLLWAY_HOST=$(HOST) TOLLWAY_PORT=$(PORT) $(PY) -m gateway demo

test: $(DEV) ## the whole suite; it starts the servers and the browser it needs (ARGS="-k money" narrows it)
	@.ci/chromium
	$(PY) -m pytest $(ARGS)

screenshots: $(DEV) ## pictures of the pages, large and small, light and dark, into docs/screenshots (ARGS="--only overview")
	@.ci/chromium
	$(PY) -m tests.browser.screenshots $(ARGS)

check: $(DEV) ## lint, format, types, import order, tidy rules, deploy files
	$(PY) -m ruff check $(SOURCES)
	$(PY) -m ruff format --check $(SOURCES)
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) -m pytest -q tests/tidy tests/deploy

bench: $(DEV) ## Tollway beside its peers, same upstream, same load (installs the peers into .bench)
	$(PY) -m benchmarks.setup_peers
	$(PY) -m benchmarks.relay $(ARGS)

bench-ledger: $(DEV) ## the ledger beside one transaction per step, on SQLite and on Postgres (ARGS="--seconds 10 --only postgres")
	$(PY) -m benchmarks.ledger $(ARGS)

bench-pages: $(DEV) ## how large and how quick every page is with 1,000,000 generations (ARGS="--only sqlite --write")
	$(PY) -m benchmarks.pages $(ARGS)

bench-translate: $(DEV) ## what translation costs beside a plain relay, per event and per request, for every dialect and client API
	$(PY) -m benchmarks.translate $(ARGS)

prove: LONG := --kills 200 --postgres-kills 20 --stops 10
prove: prove-points prove-crowd prove-availability prove-canary prove-fuzz prove-ledger prove-crash prove-mutation ## every long proof, written to docs/scorecard.md with ARGS=--scorecard

prove-availability: $(DEV) ## one of three providers fails every request, each fault in turn, and clients notice nothing (ARGS="--seconds 20")
	$(PY) -m tests.prove.availability $(ARGS)

prove-canary: $(DEV) ## marked words in every slot of a request and an answer, of which none may be found in any store, log or export (ARGS="--guards none")
	$(PY) -m tests.prove.canary $(ARGS)

prove-crash: $(DEV) ## kill -9 at random moments under load, and no nano-dollar is lost (ARGS="--kills 200 --postgres-kills 20 --stops 10")
	$(PY) -m tests.prove.crash $(LONG) $(ARGS)

prove-crowd: $(DEV) ## a thousand requests at once on money for a hundred, over three gateways
	$(PY) -m tests.prove.crowd $(ARGS)

prove-fuzz: $(DEV) ## a million wrong answers and requests, of which none may crash a parser (ARGS="--mutations 100000 --seed 1")
	$(PY) -m tests.prove.fuzz $(ARGS)

prove-ledger: $(DEV) ## random steps against SQLite, Postgres and a model, which must agree (ARGS="--examples 2000 --steps 50 --seed 1")
	$(PY) -m tests.prove.ledger $(ARGS)

prove-mutation: $(DEV) ## small wrong changes to the ledger, each of which a test must notice (ARGS="--sample 100 --seed 1")
	$(PY) -m tests.prove.mutation $(ARGS)

prove-points: $(DEV) ## a request is ended at every point at which it waits, and the books are right (ARGS="--every 5")
	$(PY) -m tests.prove.points $(ARGS)

# Dev is resolved first; the smaller files start from its pins and so stay subsets of it.
lock: $(TOOLS) ## resolve the dependencies anew (ARGS=--upgrade for the newest)
	$(COMPILE) pyproject.toml --all-extras $(ARGS) -o requirements/dev.txt
	cp requirements/dev.txt requirements/prod.txt
	$(COMPILE) pyproject.toml -o requirements/prod.txt
	cp requirements/dev.txt requirements/setup.txt
	printf 'editables\nhatchling\nuv\n' | $(COMPILE) - -o requirements/setup.txt
	printf 'litellm[mcp]\n' | $(COMPILE) - $(ARGS) -o requirements/clients.txt
	@! grep -n '://' requirements/*.txt || { echo 'A lock file holds an address (above): remove it.' >&2; exit 1; }

# uv reads no pip.conf: where the index is set up for pip alone, the slower pip installs the same locked files.
install = { echo 'installing $(1)'; $(UV) pip install -q --python $(2) --require-hashes -r $(1) || \
	{ echo 'uv could not; trying pip, which takes minutes'; $(PY) -m pip --python $(2) install -q --disable-pip-version-check --require-hashes -r $(1); }; }

$(TOOLS): requirements/setup.txt
	@command -v $(PYTHON) >/dev/null || { echo 'No $(PYTHON) found: install Python 3.11 or newer, or name one with PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Tollway needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) -V 2>&1): name another one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make a virtual environment: install its venv package (Debian, Ubuntu: apt-get install python3-venv).' >&2; exit 1; }
	@echo 'making .venv'; $(PYTHON) -m venv .venv
	@echo 'installing $<'; $(PY) -m pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(PROD): requirements/prod.txt pyproject.toml $(TOOLS)
	@$(call install,$<,$(PY))
	@$(UV) pip install -q --python $(PY) --no-index --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements/dev.txt $(PROD)
	@$(call install,$<,$(PY))
	@touch $@

# A client whose own dependencies cannot live beside ours; tests/path/test_client_litellm.py asks for it.
$(CLIENTS): requirements/clients.txt $(TOOLS)
	@$(UV) venv -q --clear --python $(PY) $(@D)
	@$(call install,$<,$(@D)/bin/python)
	@touch $@
