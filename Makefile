# Needs Python 3.11, 3.12 or 3.13, make and a package index that pip reaches; nothing else.
# Another Python: make test PYTHON=/path/to/python3.12

VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/ready
DATA ?= ../shared/data
# Two workers; each takes whole files, for the tests of one share what they make.
WORKERS = --numprocesses 2 --dist loadfile --no-loadscope-reorder $(WITHOUT)
# Plugins that come with what the tests use, and that no test uses: to import them takes a second, in each worker.
WITHOUT = -p no:schemathesis -p no:locust -p no:anyio
# Each process that a test starts would compile the package anew, and each run all tests.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& { echo $$name; break; }; done)

.PHONY: help demo test lint suite test-all test-cluster bench bench-cluster bench-gpu container-steps lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 @/p' Makefile | awk -F@ '{ printf "%-18s%s\n", $$1, $$2 }'

demo: $(READY) ## compare two backbones, both techniques, on 2,000 pictures of fabric
	$(BIN)/headstart compare sample:textile

test: $(READY) ## lint, types and the tests, without the slow ones
	@$(MAKE) --no-print-directory --jobs 2 lint suite

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

suite: $(READY)
	$(BIN)/pytest $(WORKERS)

test-all: $(READY) ## the slow tests too
	$(BIN)/pytest $(WORKERS) -m "slow or not slow"

test-cluster: $(READY) ## the tests of Ray, of Parquet and of S3, which it installs; they are not in the lock
	$(BIN)/python -m pip install --quiet "ray[data]>=2.50" "pyarrow>=19.0" "s3fs>=2025.3" "moto[s3]>=5.1"
	$(BIN)/pytest tests/cluster tests/sources/test_parquet.py tests/sources/test_listing.py \
		tests/storage/test_remote.py -m "slow or not slow"

bench: $(READY) ## measure; DATA=FOLDER holds animals, clothing and flowers; three hours on two cores
	$(BIN)/python benchmarks/commands.py $(DATA)
	$(BIN)/python benchmarks/extraction.py $(DATA)
	$(BIN)/python benchmarks/article.py $(DATA) --epochs 2
	$(BIN)/python benchmarks/forecasts.py $(DATA)
	$(BIN)/python benchmarks/decisions.py $(DATA)
	$(BIN)/python benchmarks/finetuning.py $(DATA)
	$(BIN)/python benchmarks/passes.py $(DATA)
	$(BIN)/python benchmarks/plain_loop.py $(DATA)
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/article.py $(DATA)
	$(BIN)/python benchmarks/places.py $(DATA)
	$(BIN)/python benchmarks/features.py $(DATA)
	$(BIN)/python benchmarks/many_classes.py $(DATA)
	$(BIN)/python benchmarks/phone_photos.py $(DATA)
	$(BIN)/python benchmarks/time_to_accuracy.py $(DATA)
	$(BIN)/python benchmarks/exports.py $(DATA)
	$(BIN)/python benchmarks/serving.py $(DATA)
	$(BIN)/python benchmarks/page.py

bench-cluster: $(READY) ## measure reading by one, two and three nodes of a Ray cluster on this machine; it installs Ray
	$(BIN)/python -m pip install --quiet "ray[data]>=2.50" "pyarrow>=19.0"
	$(BIN)/python benchmarks/cluster.py

bench-gpu: $(READY) ## measure on a GPU; needs headstart[gpu]
	$(BIN)/python benchmarks/gpu.py

container-steps: $(READY) ## carry out the Dockerfile's steps without an engine; RUN=a run folder, PHOTO=a photo
	$(BIN)/hadolint Dockerfile
	$(BIN)/python container/steps.py $(RUN) $(PHOTO)

lock: $(READY) ## pin anew what is tested, for every Python and system
	$(BIN)/python -m pip install --quiet "uv>=0.9"
	$(BIN)/uv --no-config --no-python-downloads pip compile pyproject.toml --extra cpu --extra dicom --extra tensorboard --extra mlflow --extra serve --extra export --group dev \
		--universal --python-version 3.11 --generate-hashes --upgrade --quiet \
		--annotation-style line --custom-compile-command "make lock" --output-file requirements.lock
	$(BIN)/uv --no-config --no-python-downloads pip compile container/requirements.in --constraint requirements.lock \
		--universal --python-version 3.11 --generate-hashes --quiet \
		--annotation-style line --custom-compile-command "make lock" --output-file container/requirements.lock

clean: ## remove the virtual environment and the caches, and keep the runs
	rm -rf $(VENV) .import_linter_cache .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
		echo "Headstart needs Python 3.11, 3.12 or 3.13, and '$(or $(PYTHON),python3)' is not one." >&2; \
		echo "Install one, or name it: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3.12" >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@
