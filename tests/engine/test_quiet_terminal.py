"""What a terminal shows: no warning about a CUDA toolkit on a CPU, and a progress bar at any width."""

import logging
import os
import pty
import sys
from types import SimpleNamespace

import pytest

import segvit  # noqa: F401
from helpers.repository import ROOT
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.progress import progress_bar


def test_a_cuda_toolkit_without_a_gpu_gives_no_warning():
    logger, seen = logging.getLogger("torch.utils.cpp_extension"), []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    logger.addHandler(handler)
    try:
        logger.warning("No CUDA runtime is found, using CUDA_HOME='%s'", "/usr/local")
        logger.warning("another warning")
    finally:
        logger.removeHandler(handler)
    assert seen == ["another warning"]


def shows_a_training():
    bar = ProgressBar()
    bar.trainer = SimpleNamespace(max_iter=10, start_iter=0, storage=SimpleNamespace(latest=dict))
    bar.before_train()
    bar.after_step()
    bar.after_train()


def reads_files():
    assert list(progress_bar(iter([1, 2]), title="reading", unit="file", total=2)) == [1, 2]


@pytest.mark.parametrize(("work", "shown"), [(shows_a_training, b"training"), (reads_files, b"reading:")])
def test_a_terminal_of_unknown_width_shows_a_bar(monkeypatch, work, shown):
    reader, writer = pty.openpty()  # A new terminal has 0 columns.
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.delenv("COLUMNS", raising=False)
        work()
        terminal.flush()
        assert shown in os.read(reader, 10000)
    os.close(reader)


def test_all_bars_are_made_in_one_place():
    files = [path for folder in ("projects", "datasets", "scripts") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in files if "import tqdm" in path.read_text(encoding="utf-8")] == ["progress.py"]
