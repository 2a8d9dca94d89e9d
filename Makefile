# Every target installs what it needs into .venv first; `make setup` does only that.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup demo test test-browser lint

setup: $(VENV)/.ready

# A torch that is already installed is kept; the pinned versions are those that this release was tested with.
$(VENV)/.ready: setup.py scripts/install_detectron2.py
	$(PYTHON) -c "import sys; sys.exit(None if sys.version_info[:2] in ((3, 10), (3, 11), (3, 12)) else \
		'SegViT needs Python 3.10, 3.11 or 3.12: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet "setuptools<81" wheel
	$(BIN)/python -c "import torch" 2>/dev/null || $(PIP) install torch==2.11.0 torchvision==0.26.0
	$(BIN)/python -c "from importlib.metadata import version; print('torch==' + version('torch'))" > $(VENV)/torch.txt
	@echo "installing SegViT and what it needs: minutes without output"
	$(PIP) install --quiet --no-build-isolation --constraint $(VENV)/torch.txt --editable ".[detectron2,dev,export,openvino,demo,geo,examples,augmentation,huggingface]"
	$(BIN)/python scripts/install_detectron2.py
	touch $@

demo: setup
	$(BIN)/python projects/SegViT/demo/toy_demo.py --output output/demo

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# The web page in a browser; skipped with a warning if there is none (Debian: apt-get install chromium chromium-driver).
test-browser: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/web

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
