"""The environment of commands that run in the process of the tests; a model folder, and data with new classes."""

import pytest

from helpers.added_classes import plain, write_old_model
from helpers.folders import write_folder


@pytest.fixture(autouse=True)
def visible_gpus(monkeypatch):
    """Commands on the CPU hide GPUs from their process; the variable comes back after each test."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def folder(tmp_path):
    """Images that label grass, road and sky, of which the model knows the last."""
    return write_folder(tmp_path / "folder")


@pytest.fixture
def write_model(tiny_cfg, tmp_path):
    """A factory of model folders with random weights, of three classes."""
    return lambda change=plain, name="old": write_old_model(tiny_cfg, tmp_path / name, change)
