"""What a terminal shows: no warning about a CUDA toolkit on a CPU, and a progress bar at any width."""

import logging
import os
import pty
import sys
from types import SimpleNamespace

import segvit  # noqa: F401
from segvit.engine.hooks.progress_bar import ProgressBar


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


def test_a_terminal_of_unknown_width_shows_a_bar(monkeypatch):
    reader, writer = pty.openpty()  # A new terminal has 0 columns.
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.delenv("COLUMNS", raising=False)
        bar = ProgressBar()
        bar.trainer = SimpleNamespace(max_iter=10, start_iter=0, storage=SimpleNamespace(latest=dict))
        bar.before_train()
        bar.after_step()
        bar.after_train()
        terminal.flush()
        assert b"training" in os.read(reader, 10000)
    os.close(reader)
