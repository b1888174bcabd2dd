# Everything that is done with Heard by hand. Needs Python 3.11 or later and make; only pip uses the network.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
STAMP := .venv/.heard-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help venv demo test check bench faults up down .docker .env format lock clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 18

venv: $(STAMP) ## the environment in .venv, from requirements.lock

$(STAMP): pyproject.toml requirements.lock
	@set -e; \
	if ! $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  found=; \
	  for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	      found=$$python; break; \
	    fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "Heard needs Python 3.11 or later, and none was found; got: $$(python3 --version 2>&1 || true)" >&2; \
	    echo "Next: install one, or name yours: make PYTHON=/path/to/python3.11 venv" >&2; \
	    exit 1; \
	  fi; \
	  if ! "$$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	    version=$$("$$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "$$found ($$version) came without the modules venv and ensurepip, which make .venv." >&2; \
	    echo "Next: on Debian or Ubuntu, apt-get install python$$version-venv; then run make again." >&2; \
	    exit 1; \
	  fi; \
	  echo "Making .venv with $$found"; \
	  "$$found" -m venv .venv; \
	fi; \
	echo "Installing into .venv what requirements.lock names (a minute or so, once)"; \
	$(PIP) install --require-hashes -r requirements.lock; \
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --no-deps --no-build-isolation -e .; \
	touch $@

demo: $(STAMP) ## the whole job on the bundled scenario, in ./heard-data
	@$(BIN)/heard --dir heard-data demo

test: $(STAMP) ## all tests but the long fault runs
	@$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile

check: $(STAMP) ## format, lint, types, import contracts, docs in step
	@echo "format";           $(BIN)/ruff format --check --quiet .
	@echo "lint";             $(BIN)/ruff check --quiet .
	@echo "types";            $(BIN)/mypy --no-error-summary
	@echo "import contracts"; $(BIN)/lint-imports > .import-contracts.out || { cat .import-contracts.out; rm -f .import-contracts.out; exit 1; }
	@rm -f .import-contracts.out
	@echo "house and docs";   $(BIN)/python -m pytest -q tests/architecture

bench: $(STAMP) ## measure, into benchmarks/results
	@$(BIN)/python -m benchmarks

faults: $(STAMP) ## the long fault runs
	@$(BIN)/python -m pytest -q -m slow

up: .docker .env ## Apache Kafka, PostgreSQL and the services in containers, on this host
	@docker compose up --detach --build --wait

down: .docker ## stop them and remove the containers; the volumes stay
	@docker compose down

.docker:
	@if ! command -v docker >/dev/null; then \
	  echo "What runs in containers needs Docker Engine with its compose plugin, and found no docker." >&2; \
	  echo "Next: install them (https://docs.docker.com/engine/install), or go without: make demo" >&2; \
	  exit 1; \
	elif ! docker compose version >/dev/null 2>&1; then \
	  echo "docker is there, its compose plugin (docker compose) is not." >&2; \
	  echo "Next: install it (https://docs.docker.com/compose/install/linux), or go without: make demo" >&2; \
	  exit 1; \
	elif ! docker version >/dev/null 2>&1; then \
	  docker version 2>&1 >/dev/null | tail -1 >&2; \
	  echo "Next: start it (systemctl start docker), and be root or in the group docker" >&2; \
	  exit 1; \
	fi

# Each time: one that was made for an earlier docker-compose.yml keeps what it has and gets what it lacks.
.env:
	@umask 077; [ -z "$$(tail -c 1 $@ 2>/dev/null)" ] || echo >>$@; \
	for name in $$(grep -o '[A-Z_]*:?' docker-compose.yml | tr -d ':?' | sort -u); do \
	  grep -Eqs "^ *(export +)?$$name *[=:]" $@ && continue; \
	  echo "Writing into .env a random password: $$name"; \
	  echo "$$name=$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >>$@; \
	done

format: $(STAMP) ## put the code in its format
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

lock: $(STAMP) ## requirements.lock from pyproject.toml (UPGRADE=1: newest versions)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --custom-compile-command "make lock" --group dev $(if $(UPGRADE),--upgrade) \
	  --output-file requirements.lock pyproject.toml
	@echo 'uv_build>=0.13,<0.14' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --custom-compile-command "make lock" \
	  --constraint requirements.lock --output-file requirements.image.lock pyproject.toml -

clean: ## remove caches and builds; .venv and heard-data stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
