# Every command that people and CI run. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
BIN := .venv/bin

# Without bytecode files everything starts three times slower; some CI machines switch them off.
unexport PYTHONDONTWRITEBYTECODE
export SAM_CLI_TELEMETRY := 0

# Where packages, parameter files and reports go.
BUILD := build

FUNCTIONS := data_preparation model_training model_evaluation

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}'

# The dependency group of pyproject.toml that the environment holds; the pipeline's builds take smaller ones.
DEPENDENCIES ?= dev
export DEPENDENCIES
ifneq ($(shell cat .venv/.ready 2>/dev/null),$(DEPENDENCIES))
.PHONY: .venv/.ready
endif
.venv/.ready: pyproject.toml uv.lock scripts/set_up.sh
	@# By bash, for a source that comes as a zip may have lost who may run it.
	@bash scripts/set_up.sh

.PHONY: setup
setup: .venv/.ready ## Make the environment in .venv (all other targets do it by themselves)

# Tools that cannot share the project's environment, because they pin other versions, each have their own, with the exact
# versions of their requirements.txt.
tools/%/.venv/.ready: tools/%/requirements.txt | .venv/.ready
	@export PATH="$(CURDIR)/$(BIN):$$PATH" UV_SYSTEM_CERTS="$${UV_SYSTEM_CERTS:-true}"; \
	    uv venv --quiet --clear --no-python-downloads --python $(BIN)/python tools/$*/.venv; \
	    uv pip sync --quiet --compile-bytecode --require-hashes --python tools/$*/.venv/bin/python $<
	@touch $@

# What `make train` hands to scripts/train.py. Only what is set on make's command line counts: the same names may stand
# for anything in somebody's environment.
TRAIN_OPTIONS := DATA TARGET PROBLEM ESTIMATOR HYPERPARAMETERS SPLIT_COLUMN TEST_FRACTION SEED METRIC THRESHOLD \
                 MINIMUM_IMPROVEMENT MODEL_NAME OUT STACK
lower = $(subst _,-,$(shell echo $1 | tr '[:upper:]' '[:lower:]'))
option = $(if $(findstring command line,$(origin $1)),--$(call lower,$1)="$$$1")

.PHONY: train
train: .venv/.ready ## Train a model: the diabetes data, or DATA=file-or-folder TARGET=column [PROBLEM= ESTIMATOR= METRIC= OUT= …]
	@$(BIN)/python scripts/train.py $(foreach name,$(TRAIN_OPTIONS),$(call option,$(name))) $(ARGS)

.PHONY: local-aws
local-aws: .venv/.ready ## Keep an embedded AWS with the training stack running, for `make train` and the scripts
	@$(BIN)/python scripts/local_aws.py $(ARGS)

.PHONY: rehearse
rehearse: .venv/.ready ## Rehearse the delivery in three emulated accounts [ARGS="--approve yes --no-images --worktree …"]
	@$(BIN)/python scripts/rehearse.py $(ARGS)

.PHONY: test
test: .venv/.ready ## Run all tests; those that need a container engine are skipped without one
	@$(BIN)/pytest $(ARGS)

.PHONY: test-unit
test-unit: .venv/.ready ## Run the unit tests alone
	@$(BIN)/pytest tests/unit $(ARGS)

.PHONY: test-containers
test-containers: .venv/.ready ## Build the images and test them in containers (needs a container engine)
	@$(BIN)/pytest tests/containers $(ARGS)

.PHONY: test-rehearsal
test-rehearsal: .venv/.ready ## Rehearse each case that users meet; those with images need a container engine
	@$(BIN)/pytest tests/rehearsal $(ARGS)

.PHONY: bench
bench: .venv/.ready ## Measure against the limit and against peers; writes benchmarks/results.md and plots (half an hour)
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-quick
bench-quick: .venv/.ready ## A glimpse of it on less data (about two minutes); writes nothing
	@$(BIN)/python -m benchmarks --quick $(ARGS)

.PHONY: lint
lint: .venv/.ready tools/checkov/.venv/.ready tools/taskcat/.venv/.ready ## Check code, types and templates
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/cfn-lint
	@$(BIN)/sam validate --lint --region us-east-1
	@tools/checkov/.venv/bin/checkov
	@PYTHONWARNINGS=ignore::UserWarning tools/taskcat/.venv/bin/taskcat -q lint

.PHONY: format
format: .venv/.ready ## Format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: requirements
requirements: .venv/.ready ## Write each function's requirements.txt from uv.lock
	@$(foreach name,$(FUNCTIONS),$(BIN)/uv export --quiet --frozen --no-emit-project --no-annotate --no-header \
	    --only-group $(subst _,-,$(name)) --output-file functions/$(name)/requirements.txt;)

.PHONY: tool-requirements
tool-requirements: .venv/.ready ## Write each tool's requirements.txt from its requirements.in
	@for tool in tools/*/; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --no-header $${tool}requirements.in --output-file $${tool}requirements.txt; done

.PHONY: build
build: .venv/.ready ## Build the three images with `sam build` (needs a container engine)
	@$(BIN)/sam build

.PHONY: package
package: .venv/.ready ## Write build/packaged.yaml, with the state machine's definition in the bucket ARTIFACT_BUCKET
	@mkdir -p $(BUILD)
	@# The images stay parameters; `sam package` asks for a repository all the same.
	@$(BIN)/sam package --template-file template.yaml --s3-bucket "$$ARTIFACT_BUCKET" --s3-prefix packaged \
	    --image-repository "$$REPOSITORY_DATA_PREPARATION" --output-template-file $(BUILD)/packaged.yaml

# Only make's command line counts: functions know a RELEASE of their environment, too.
RELEASE := latest
.PHONY: taskcat
taskcat: package tools/taskcat/.venv/.ready ## Deploy to real accounts with taskcat, look, and delete again [RELEASE= TESTS=]
	@$(BIN)/python scripts/resolve_images.py "$(RELEASE)" --stage test --base config/test.json \
	    --out $(BUILD)/parameters-test.json
	@$(BIN)/python scripts/taskcat.py $(call option,TESTS) $(ARGS)

.PHONY: clean
clean: ## Remove the environment, build results and caches
	@rm -rf .venv tools/*/.venv .aws-sam $(BUILD) out .pytest_cache .mypy_cache .ruff_cache .hypothesis functions/*.egg-info
	@find functions scripts tests -name __pycache__ -prune -exec rm -rf {} +
