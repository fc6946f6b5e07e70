# What people type. Every target does all of its own set-up; PYTHON=/path/to/python3 chooses the interpreter.
export PYTHON
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: help run setup test check audit bench proofs endurance pictures demo house lock setup-dev

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 14

run: setup ## set up what is missing, then serve one cell on 127.0.0.1:8000
	@exec $(VENV)/bin/crossfade serve

setup: ## only the set-up: .venv with the command .venv/bin/crossfade
	@ops/setup/venv.sh runtime

setup-dev:
	@ops/setup/venv.sh dev

test: setup-dev ## everything that tests need, then all tests
	@ops/setup/system-packages.sh --optional postgresql pgbouncer chromium
	@ops/setup/npm-test-packages.sh
	@# Two at a time, on their own ports and folders; whoever has finished takes over what the other has not begun.
	$(PY) -m pytest -n 2 --dist worksteal

check: setup-dev ## format, lint, types, fast tests
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m bandit --quiet --recursive --configfile pyproject.toml app rollout dashboards
	@ops/setup/system-packages.sh --optional postgresql pgbouncer
	@ops/setup/npm-test-packages.sh
	$(PY) -m pytest -m 'not slow' -n 2

audit: setup ## known vulnerabilities of what is installed at run time, asked of PyPI; needs the network
	@# An environment of its own: it cannot be installed beside UnleashClient, which pins platformdirs.
	@[ -x .cache/audit/bin/pip-audit ] || { python3 -m venv .cache/audit && .cache/audit/bin/pip install -q pip-audit==2.10.1; }
	.cache/audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements.txt

bench: setup-dev ## the benchmarks beside their peers; BENCH="--rows throughput --rounds 5"
	@ops/setup/system-packages.sh nginx haproxy
	@missed=0; \
	$(PY) -m ops.bench $(BENCH) || missed=1; \
	$(PY) -m ops.bench.proxies || missed=1; \
	$(PY) -m ops.bench.switches || missed=1; \
	$(PY) -m ops.bench.hostile || missed=1; \
	exit $$missed

proofs: setup-dev ## kills, cut-off cells and stores: what is promised beside what is seen; PROOFS="kills --kills 5"
	@ops/setup/system-packages.sh postgresql
	$(PY) -m ops.chaos $(PROOFS)

endurance: setup-dev ## 15 minutes of churn, changes and kills: what grows, as a picture; MINUTES=60
	$(PY) -m ops.endurance

house: ## the tree with a line a file; HOUSE="app/control"
	@python3 -m ops.house $(HOUSE)

demo: setup ## service, 300 clients and a release of v3 that dies; SEED=1, FAULT=none MINUTES=10
	@exec $(PY) -m ops.demo

pictures: setup-dev ## the pictures of the README, taken from a real service
	@ops/setup/system-packages.sh chromium
	$(PY) -m ops.pictures.take

lock: setup-dev ## pin all packages again, with hashes
	$(PY) -m pip install -q uv
	$(VENV)/bin/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 --extra build pyproject.toml -o requirements.txt -q
	$(VENV)/bin/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 --extra build --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt -q
