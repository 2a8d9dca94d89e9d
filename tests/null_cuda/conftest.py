"""The fixture that builds the null device once."""

import pytest

from null_device import build_null_device, missing_for_null_device


@pytest.fixture(scope="session")
def null_device(tmp_path_factory):
    """The environment of a program that runs on the null device; see null_device.py."""
    missing = missing_for_null_device()
    if missing:
        pytest.skip(f"THE TESTS OF CUDA WITHOUT A GPU DO NOT RUN: {missing}")
    return build_null_device(tmp_path_factory.mktemp("null_device"))
