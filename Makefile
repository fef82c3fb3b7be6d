# `make run` and `make test` need nothing before them but Python 3.11 or newer, git and make.
.DEFAULT_GOAL := help
.PHONY: help run test lint types proto bench bench-quick histories month fuzz soak pins docs dashboards images release

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Only what the pins name, and only files with the hashes that stand there.
INSTALL := $(PIP) install --require-hashes
ENGINE := docker
# What the agent is measured beside; it pins another nvidia-ml-py than we do, so it has an environment of its own.
PEER := $(VENV)/peer
BENCH := GRPC_VERBOSITY=ERROR PYTHONPATH=. $(BIN)/python benchmarks/run.py
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
CHECKOUT := $(PIP) install --no-deps --no-build-isolation --editable .

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

run: $(VENV)/.run-ready ## Simulate a fleet through the whole pipeline; show its GPU-hours until Ctrl-C
	@exec $(BIN)/gputally demo

test: $(VENV)/.test-ready ## Run every test; what this machine lacks is skipped and named
	@$(BIN)/pytest --numprocesses=4 --dist=worksteal

lint: $(VENV)/.test-ready ## Check style, layers, and that generated code matches its definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python proto/generate.py --check
	$(BIN)/python dashboards/build.py --check
	$(BIN)/python deploy/collector/overlays/prometheusrule/generate.py --check
	@$(BIN)/python constraints/audit.py

types: $(VENV)/.test-ready ## Check types (mypy, strict)
	$(BIN)/mypy
	MYPYPATH=dashboards $(BIN)/mypy dashboards/build.py

proto: $(VENV)/.test-ready ## Generate the Python code of the protocol definitions
	$(BIN)/python proto/generate.py

bench: $(VENV)/.test-ready $(PEER)/.ready ## Measure everything beside its ceiling, in minutes (make bench ONLY=agent,wire SAVE=name)
	@$(BENCH) $(if $(ONLY),--only $(ONLY)) $(if $(SAVE),--save $(SAVE))

bench-quick: $(VENV)/.test-ready ## Measure ratios of CPU times small; fail where one is twice as bad as it was
	@$(BENCH) --quick $(if $(ONLY),--only $(ONLY))

histories: $(VENV)/.test-ready ## Settle N random histories of shared GPUs; check every invariant (make histories N=10000)
	$(BIN)/python -m tests.histories_run $(or $(N),1000)

month: $(VENV)/.test-ready ## Live through N days of AI platforms: is the table of waste the scenario's truth? (make month N=30)
	$(BIN)/python -m tests.waste_month $(or $(N),30)

fuzz: $(VENV)/.test-ready ## Try N inputs that nobody meant at every door; count what is refused (make fuzz N=20000)
	PYTHONPATH=. $(BIN)/python tests/fuzz/run.py $(or $(N),2000)

soak: $(VENV)/.test-ready ## Break agents, collectors and the database for MINUTES; is the ledger the truth then?
	PYTHONPATH=. $(BIN)/python tests/chaos/soak.py --minutes $(or $(MINUTES),2)

pins: $(VENV)/.test-ready ## Pin what is installed, with hashes; UPGRADE="grpcio rich" moves those
	constraints/pin.sh $(UPGRADE)

docs: $(VENV)/.test-ready ## Generate pages and pictures from the code; check links, commands, examples
	$(BIN)/python docs/generate_settings.py
	$(BIN)/python docs/generate_metrics.py
	PYTHONPATH=. $(BIN)/python docs/screenshots.py
	PYTHONPATH=. $(BIN)/python docs/top_picture.py
	$(BIN)/pytest tests/test_docs.py tests/test_docs_examples.py tests/test_docs_operations.py

dashboards: $(VENV)/.test-ready ## Write the Grafana dashboards from their code
	$(BIN)/python dashboards/build.py

# BUILDAH_FORMAT: podman and buildah drop the health check from images of their own default format.
images: ## Build both images with docker, or another: make images ENGINE=podman BASE=python@sha256:...
	@for name in agent collector; do \
		BUILDAH_FORMAT=docker $(ENGINE) build --file Dockerfile.$$name --tag gputally-$$name:$(VERSION) $(if $(BASE),--build-arg PYTHON_IMAGE=$(BASE)) \
			--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git describe --always --dirty --abbrev=40) . || exit 1; \
	done

release: $(VENV)/.test-ready ## Build and check what is published; print what a person does then. Publishes nothing
	@$(BIN)/python deploy/release.py

# The environment. The build backend is pinned like everything else, so the checkout is linked without isolation.
$(VENV)/.run-ready: pyproject.toml constraints/run.txt | $(BIN)/python
	@echo "Installing GPU Tally into $(VENV) (once, about a minute)..."
	@$(INSTALL) --requirement constraints/build.txt --requirement constraints/run.txt
	@$(CHECKOUT)
	@touch $@

$(VENV)/.test-ready: pyproject.toml constraints/dev.txt | $(BIN)/python
	@echo "Installing GPU Tally and its development tools into $(VENV) (once, about a minute)..."
	@$(INSTALL) --requirement constraints/dev.txt
	@$(CHECKOUT)
	@touch $(VENV)/.run-ready $@

$(PEER)/.ready: constraints/peer.txt | $(BIN)/python
	@$(BIN)/python -m venv $(PEER)
	@if $(PEER)/bin/python -m pip --quiet --disable-pip-version-check install --retries 1 --require-hashes --requirement $<; then touch $@; \
	else echo "nvitop-exporter cannot be installed from here: the agent is measured without its peer"; fi

# The first Python that is new enough and can create environments; else a line that says what to install.
# Debian and Ubuntu ship ensurepip, without which there is no environment, in a package of its own.
$(BIN)/python:
	@lacking=; for python in python3.13 python3.12 python3.11 python3; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		$$python -c 'import ensurepip, venv' 2>/dev/null && exec $$python -m venv $(VENV); \
		lacking=$${lacking:-`$$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'`}; \
	done; \
	if [ -n "$$lacking" ]; then \
		echo "This Python cannot create environments. Run: sudo apt-get install $$lacking" >&2; \
	else \
		echo "GPU Tally needs Python 3.11 or newer. On Debian 12, Ubuntu 24.04 or newer:" \
			"sudo apt-get install python3 python3-venv; on macOS: brew install python@3.13" >&2; \
	fi; exit 1
