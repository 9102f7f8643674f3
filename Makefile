.DEFAULT_GOAL := help
.PHONY: help run http2 otel test faults fuzz fuzz-api catalogue check audit sbom bench bench-peers budget scrape dashboards soak soak-faults chaos bench-reliability fix lock clean
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run.stamp
DEV := $(VENV)/.dev.stamp

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

http2: $(RUN)  ## add what HTTP/2 towards providers needs
	@scripts/install $(VENV) requirements/http2.lock

otel: $(RUN)  ## add what OpenTelemetry needs
	@scripts/install $(VENV) requirements/otel.lock

run: $(RUN)  ## install what is needed and start the gateway on 127.0.0.1:12434
	@$(BIN)/signalbox serve $(ARGS)

test: $(DEV)  ## install what tests need and run all of them
	@scripts/prepare-tests
	@$(BIN)/python -m pytest -n auto --dist worksteal

faults: $(DEV)  ## the tests that take longer; docs/faults.md marks those of faults
	@scripts/prepare-tests
	@$(BIN)/python -m pytest -n auto --dist worksteal -m slow tests

fuzz: $(DEV)  ## five minutes for every fuzz target; ARGS="--seconds 60 events requests" for less, docs/fuzzing.md has all
	@$(BIN)/python -m tests.fuzz $(ARGS)

fuzz-api: $(DEV)  ## our own description against a real gateway, five minutes with each of two keys; ARGS="--seconds 60"
	@$(BIN)/python -m tests.fuzz.api $(ARGS)

catalogue: $(DEV)  ## write docs/faults.md anew from tests/faults
	@$(BIN)/python -m scripts.catalogue

check: $(DEV)  ## format, lint, types, architecture, known-bad versions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.audit

audit: $(DEV)  ## whether a lock file has a version that requirements/advisories.toml warns of
	@$(BIN)/python -m scripts.audit

sbom: $(DEV)  ## write build/sbom.json: what an installation is made of, as CycloneDX
	@mkdir -p build
	@$(BIN)/python -m scripts.sbom requirements/run.lock >build/sbom.json

bench: $(RUN)  ## measure Signalbox in a few minutes; ARGS="--seconds 0.3 --rounds 1" for less
	@$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(RUN)  ## install LiteLLM, Portkey and others, measure them too, write benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks --peers $(ARGS)

bench-reliability: $(RUN)  ## stress against docs/reliability.md's targets, and write what came of it there
	@$(BIN)/python -m benchmarks.reliability --write $(ARGS)

fix: $(DEV)  ## what a machine can repair
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(DEV)  ## resolve the dependencies again, for every platform, with hashes
	scripts/lock $(BIN)/uv

budget: $(RUN)  ## what each part of the hot path costs, in process; its log lines go nowhere
	@$(BIN)/python -m scripts.budget >/dev/null

scrape: $(RUN)  ## what a scrape costs a busy gateway, and for how long it holds up calls
	@$(BIN)/python -m scripts.scrape

dashboards: $(DEV)  ## write docker/grafana/dashboards anew from scripts/dashboards
	@$(BIN)/python -m scripts.dashboards

soak: $(DEV)  ## ten minutes of mixed traffic, then memory, sockets and every counter are looked at
	@$(BIN)/python -m benchmarks.soak --minutes 10 $(ARGS)

soak-faults: $(DEV)  ## ten minutes in which a twentieth of all attempts fail, a tenth of callers leave, Redis restarts
	@scripts/prepare-tests
	@$(BIN)/python -m tests.chaos run --mix soak --seed 1 --minutes 10 --rate 200 $(ARGS)

chaos: $(DEV)  ## twenty minutes of faults at random on every side, then an audit; ARGS="--seed 7" for the same again
	@scripts/prepare-tests
	@$(BIN)/python -m tests.chaos run $(ARGS)

clean:  ## remove the environment and what tools left
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(RUN): requirements/run.lock pyproject.toml scripts/install
	@scripts/install $(VENV) requirements/run.lock
	@touch $@

$(DEV): requirements/dev.lock pyproject.toml scripts/install
	@scripts/install $(VENV) requirements/dev.lock
	@touch $@ $(RUN)
