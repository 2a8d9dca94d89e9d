# `make demo` and `make test` set up everything they need first; `make setup` alone does only that.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint

setup: $(VENV)/.ready

# An existing torch in the environment is kept; the pinned pair is what this release was tested with.
$(VENV)/.ready: setup.py scripts/install_detectron2.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "setuptools<81" wheel
	$(BIN)/python -c "import torch, torchvision" 2>/dev/null || \
		$(BIN)/python -m pip install --disable-pip-version-check torch==2.11.0 torchvision==0.26.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable ".[dev]"
	$(BIN)/python scripts/install_detectron2.py
	touch $@

demo: setup
	$(BIN)/python projects/SegViT/demo/toy_demo.py --output output/demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
