"""The environment of commands that run in the process of the tests."""

import pytest


@pytest.fixture(autouse=True)
def visible_gpus(monkeypatch):
    """Commands on the CPU hide GPUs from their process; the variable comes back after each test."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
