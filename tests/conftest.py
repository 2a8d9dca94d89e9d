"""Fixtures that several suites share: a tiny SegViT, inputs for it, and toy scenes on disk.

Shape shorthand: H x W pixels, K classes.
"""

import gc
import logging

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from helpers.tiny_models import IGNORED, tiny_config
from segvit.dataset_tools.toy_scenes import generate_toy_scenes
from segvit.engine.run_setup import LOGGED

# Property tests draw the same examples everywhere and every time, and none fails because its machine is slow.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("repeatable")


def pytest_collection_finish():
    """The garbage collector leaves out what has been imported until here, which it would search again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_closed_logs():
    """Commands in the process of an earlier test logged to its captured output, which is closed now."""
    for logger in map(logging.getLogger, LOGGED):
        for handler in logger.handlers[:]:
            if isinstance(handler, logging.StreamHandler) and handler.stream and handler.stream.closed:
                logger.removeHandler(handler)


@pytest.fixture
def tiny_cfg():
    """See `tiny_config`."""
    return tiny_config()


@pytest.fixture
def make_input():
    """A factory of what the mapper hands to the model for one image; `ids` are the labels it draws from."""

    def make(height, width, *, seed=0, ids=(0, 1, 3, IGNORED)):
        generator = torch.Generator().manual_seed(seed)
        sem_seg = torch.tensor(ids)[torch.randint(len(ids), (height, width), generator=generator)]
        image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
        return {"image": image, "sem_seg": sem_seg}

    return make


@pytest.fixture(scope="session")
def toy_scenes_root(tmp_path_factory):
    """A folder for DETECTRON2_DATASETS with six toy scenes to train on and three to evaluate."""
    root = tmp_path_factory.mktemp("datasets")
    generate_toy_scenes(root, seed=0, num_train=6, num_val=3)
    return root


@pytest.fixture
def toy_scenes(toy_scenes_root, monkeypatch):
    """Register the toy scenes of `toy_scenes_root`; the variable that seeding writes is restored after the test."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # `seed_all_rng` writes it
    return toy_scenes_root


@pytest.fixture
def bgr_image():
    """A 30 x 43 image as OpenCV reads it: (H, W, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (30, 43, 3), dtype=np.uint8)
