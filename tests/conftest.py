"""Fixtures that several suites share: a tiny SegViT, inputs for it, and toy scenes on disk.

Shape shorthand: H x W pixels, K classes.
"""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from segvit.d2 import get_segvit_cfg
from segvit.dataset_tools.toy_scenes import generate_toy_scenes

# Property tests draw the same examples everywhere and every time, and none fails because its machine is slow.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("repeatable")

NUM_CLASSES, IGNORED = 5, 255


@pytest.fixture
def tiny_cfg():
    """Three blocks of width 48 on 8 x 8 patches, two stages, K = 5; trained at 32 x 48."""
    cfg = get_segvit_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [120.0, 115.0, 105.0], [60.0, 57.0, 58.0]
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = NUM_CLASSES, IGNORED
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block1"]
    vit, segvit = cfg.MODEL.VIT, cfg.MODEL.SEGVIT
    vit.NAME, vit.IMG_SIZE, vit.OUT_INDICES = "vit_tiny_patch16_224", [32, 48], [1, 2]
    vit.PATCH_SIZE, vit.EMBED_DIM, vit.DEPTH, vit.NUM_HEADS = 8, 48, 3, 3
    vit.INIT_STD, vit.DROP_PATH_RATE = 0.15, 0.0
    segvit.HIDDEN_DIM, segvit.NUM_HEADS, segvit.NUM_LAYERS = 24, 2, 1
    segvit.INIT_STD, segvit.DROPOUT = 0.2, 0.0
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (32,), 48
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 0, 4096
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [32, 48]
    return cfg


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
