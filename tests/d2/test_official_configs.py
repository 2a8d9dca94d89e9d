"""The configs of the official models: settings, parameters and multiply-accumulates."""

from pathlib import Path
from typing import NamedTuple

import pytest

from segvit.analysis import count_macs, count_params
from segvit.analysis.from_config import build_random_model
from segvit.d2 import load_config

CONFIGS = Path(__file__).parents[2] / "projects" / "SegViT" / "configs"
IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
HALF = ([127.5] * 3, [127.5] * 3)


class Recipe(NamedTuple):
    """A column of the official recipes; `base` is the long and the short side of the training resize."""

    crop: int
    iterations: int
    weight_decay: float
    power: float
    base: tuple[int, int]
    pixels: tuple[list[float], list[float]]
    test_short: int
    classes: int


ADE_L = Recipe(640, 160_000, 0.01, 1.0, (2048, 640), HALF, 640, 150)
ADE_B = Recipe(512, 160_000, 0.01, 1.0, (2048, 512), IMAGENET, 512, 150)
COCO_L = Recipe(512, 80_000, 0.02, 2.0, (2048, 512), HALF, 512, 171)
PASCAL_L = Recipe(480, 80_000, 0.03, 1.0, (520, 520), HALF, 480, 60)
RECIPES = {
    "ade20k/segvit_vit_base_512": ADE_B,
    "ade20k/segvit_vit_large_640": ADE_L,
    "ade20k/segvit_vit_large_640_shrunk": ADE_L,
    "coco_stuff_10k/segvit_vit_large_512": COCO_L,
    "coco_stuff_10k/segvit_vit_large_512_shrunk": COCO_L,
    "pascal_context/segvit_vit_large_480": PASCAL_L,
    "pascal_context/segvit_vit_large_480_shrunk": PASCAL_L,
}
# Multiply-accumulates in G with upsampling and class mixing, as counted on the official release.
GMACS = {
    "ade20k/segvit_vit_base_512": 120.88,
    "ade20k/segvit_vit_large_640": 637.87,
    "ade20k/segvit_vit_large_640_shrunk": 373.53,
    "coco_stuff_10k/segvit_vit_large_512": 383.90,
    "coco_stuff_10k/segvit_vit_large_512_shrunk": 224.85,
    "pascal_context/segvit_vit_large_480": 321.67,
    "pascal_context/segvit_vit_large_480_shrunk": 186.89,
}
PARAMETERS = {
    "ade20k/segvit_vit_base_512": (108_736_279, 86_433_024, 22_303_255),
    "ade20k/segvit_vit_large_640": (344_305_303, 304_737_280, 39_568_023),
    "ade20k/segvit_vit_large_640_shrunk": (344_598_679, 304_737_280, 39_861_399),
}
EACH_CONFIG = pytest.mark.parametrize("name", RECIPES)


def load(name):
    return load_config(CONFIGS / f"{name}.yaml")


def test_no_official_config_is_missing_here():
    folders = {name.partition("/")[0] for name in RECIPES}
    files = [path for folder in folders for path in (CONFIGS / folder).glob("segvit_vit_*.yaml")]
    assert {path.relative_to(CONFIGS).with_suffix("").as_posix() for path in files} == set(RECIPES)


@EACH_CONFIG
def test_recipe(name):
    cfg, recipe = load(name), RECIPES[name]
    assert list(cfg.MODEL.VIT.IMG_SIZE) == list(cfg.INPUT.CROP.SIZE) == [recipe.crop, recipe.crop]
    assert recipe.iterations == cfg.SOLVER.MAX_ITER
    assert recipe.weight_decay == cfg.SOLVER.WEIGHT_DECAY
    assert recipe.power == cfg.SOLVER.POLY_POWER
    assert (cfg.INPUT.MAX_SIZE_TRAIN, *cfg.INPUT.MIN_SIZE_TRAIN) == recipe.base
    assert recipe.pixels == (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    assert recipe.test_short == cfg.INPUT.MIN_SIZE_TEST
    assert recipe.classes == cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES


@EACH_CONFIG
def test_what_all_recipes_share(name):
    cfg = load(name)
    solver, vit = cfg.SOLVER, cfg.MODEL.VIT
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.DECODER_LR_MULTIPLIER, solver.LAYER_DECAY) == (16, 2e-5, 10, 1)
    assert (solver.LR_SCHEDULER_NAME, solver.WARMUP_ITERS, solver.WARMUP_FACTOR) == ("WarmupPolyLR", 1500, 1e-6)
    clip = solver.CLIP_GRADIENTS
    assert (clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE) == (True, "full_model", 35, 2)
    assert solver.NO_WEIGHT_DECAY == ["backbone.*norm*"]
    assert cfg.INPUT.RESIZE_RATIO_RANGE == [0.5, 2.0] and cfg.INPUT.RESIZE_RATIO_SAMPLING == "uniform"
    assert cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA == 0.75 and cfg.INPUT.PHOTOMETRIC_STRENGTH == 1
    assert cfg.INPUT.FORMAT == "RGB"
    assert cfg.MODEL.SEGVIT.OUTPUT == "mix" and not cfg.MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS
    assert not vit.KEEP_PREFIX_TOKENS and not vit.FINAL_NORM
    assert (0.1 if "base" in name else 0.3) == vit.DROP_PATH_RATE


@EACH_CONFIG
def test_stages(name):
    cfg = load(name)
    vit, shrunk = cfg.MODEL.VIT, name.endswith("_shrunk")
    stages = [7, 23] if shrunk else [5, 7, 11] if "base" in name else [7, 15, 23]
    reduction, upsampling = ("shrunk", "learned") if shrunk else ("none", "none")
    assert stages == list(vit.OUT_INDICES)
    assert [f"block{index}" for index in reversed(stages)] == cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES
    assert reduction == vit.REDUCTION
    assert upsampling == cfg.MODEL.SEGVIT.QUERY_UPSAMPLING
    assert not shrunk or vit.REDUCTION_BLOCK == 8


@EACH_CONFIG
def test_multiply_accumulates(name):
    cfg = load(name)
    macs = count_macs(build_random_model(cfg, device="meta"), tuple(cfg.MODEL.VIT.IMG_SIZE))
    assert macs["total"] == pytest.approx(GMACS[name] * 1e9, rel=5e-3)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    total, backbone, head = PARAMETERS[name]
    params = count_params(build_random_model(load(name), device="meta"))
    assert params == {"total": total, "backbone": backbone, "sem_seg_head": head}
