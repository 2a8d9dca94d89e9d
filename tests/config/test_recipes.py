"""Recipes of the papers and ours: hyper-parameters, windows, encoders, variants, parameters and MACs of each config."""

from typing import NamedTuple

import pytest
import timm

from helpers.config_models import macs_of, meta_model
from helpers.repository import CONFIGS
from segvit.analysis import count_params
from segvit.config.loading import config_layers
from segvit.d2 import get_segvit_cfg, load_config
from segvit.engine.auto_scale import scale_to_processes, unscaled_batch

IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
HALF = ([127.5] * 3, [127.5] * 3)


class Recipe(NamedTuple):
    """A column of the official recipes; `base` is the long and the short side of the training resize."""

    crop: int
    iterations: int
    weight_decay: float
    power: float
    base: tuple[int, int]
    stride: int
    test_short: int
    classes: int


class Encoder(NamedTuple):
    """An encoder, its weights by timm's tag, and the size of the decoder that reads it."""

    name: str
    tag: str
    stages: tuple[int, ...]
    drop_path: float
    pixels: tuple[list[float], list[float]]
    decoder: tuple[int, int]
    keeps_prefix_tokens: bool


ADE_L = Recipe(640, 160_000, 0.01, 1.0, (2048, 640), 608, 640, 150)
ADE_B = Recipe(512, 160_000, 0.01, 1.0, (2048, 512), 341, 512, 150)
COCO_L = Recipe(512, 80_000, 0.02, 2.0, (2048, 512), 341, 512, 171)
PASCAL_L = Recipe(480, 80_000, 0.03, 1.0, (520, 520), 320, 480, 60)
# Ours: datasets that the papers do not use, and patches of 14.
CITY = Recipe(768, 80_000, 0.01, 1.0, (2048, 1024), 512, 1024, 19)
VOC = Recipe(512, 40_000, 0.01, 1.0, (2048, 512), 341, 512, 21)
ADE_L14 = ADE_L._replace(crop=644, base=(2048, 644), stride=612, test_short=644)
ADE_B14 = ADE_B._replace(crop=518, base=(2048, 518), stride=345, test_short=518)

B_SIZES, L_SIZES = ((5, 7, 11), 0.1), ((7, 15, 23), 0.3)
VIT_B = Encoder("vit_base_patch16_384", "augreg_in21k_ft_in1k", *B_SIZES, IMAGENET, (384, 12), False)
VIT_L = Encoder("vit_large_patch16_384", "augreg_in21k_ft_in1k", *L_SIZES, HALF, (512, 16), False)
BEIT_B = Encoder("beitv2_base_patch16_224", "in1k_ft_in22k", *B_SIZES, IMAGENET, (384, 12), True)
BEIT_L = Encoder("beitv2_large_patch16_224", "in1k_ft_in22k", *L_SIZES, IMAGENET, (512, 16), True)
DINO2_B = Encoder("vit_base_patch14_reg4_dinov2", "lvd142m", *B_SIZES, IMAGENET, (384, 12), True)
DINO2_L = Encoder("vit_large_patch14_reg4_dinov2", "lvd142m", *L_SIZES, IMAGENET, (512, 16), True)
DINO3_B = Encoder("vit_base_patch16_dinov3", "lvd1689m", *B_SIZES, IMAGENET, (384, 12), True)
DINO3_L = Encoder("vit_large_patch16_dinov3", "lvd1689m", *L_SIZES, IMAGENET, (512, 16), True)

RECIPES = {
    "ade20k/segvit_vit_base_512": (ADE_B, VIT_B),
    "ade20k/segvit_vit_large_640": (ADE_L, VIT_L),
    "ade20k/segvit_vit_large_640_shrunk": (ADE_L, VIT_L),
    "ade20k/segvitv2_beitv2_large_640": (ADE_L, BEIT_L),
    "ade20k/segvitv2_beitv2_large_640_shrunk_pp": (ADE_L, BEIT_L),
    "ade20k/segvitv2_beitv2_base_512": (ADE_B, BEIT_B),
    "ade20k/segvitv2_beitv2_base_512_shrunk_pp": (ADE_B, BEIT_B),
    "ade20k/segvitv2_vit_base_512_cells": (ADE_B, VIT_B),
    "ade20k/segvitv2_vit_large_640_cells": (ADE_L, VIT_L),
    "ade20k/segvitv2_vit_base_512_shrunk_pp": (ADE_B, VIT_B),
    "ade20k/segvitv2_vit_large_640_shrunk_pp": (ADE_L, VIT_L),
    "ade20k/segvitv2_dinov2_base_518": (ADE_B14, DINO2_B),
    "ade20k/segvitv2_dinov2_large_644": (ADE_L14, DINO2_L),
    "ade20k/segvitv2_dinov3_base_512": (ADE_B, DINO3_B),
    "ade20k/segvitv2_dinov3_large_640": (ADE_L, DINO3_L),
    "coco_stuff_10k/segvit_vit_large_512": (COCO_L, VIT_L),
    "coco_stuff_10k/segvit_vit_large_512_shrunk": (COCO_L, VIT_L),
    "coco_stuff_10k/segvitv2_beitv2_large_512": (COCO_L, BEIT_L),
    "pascal_context/segvit_vit_large_480": (PASCAL_L, VIT_L),
    "pascal_context/segvit_vit_large_480_shrunk": (PASCAL_L, VIT_L),
    "pascal_context/segvitv2_beitv2_large_480": (PASCAL_L, BEIT_L),
    "cityscapes/segvit_vit_base_768": (CITY, VIT_B),
    "cityscapes/segvit_vit_large_768": (CITY, VIT_L),
    "voc/segvit_vit_base_512": (VOC, VIT_B),
    "voc/segvit_vit_large_512": (VOC, VIT_L),
}
WITHOUT_BACKGROUND = [name for name, (recipe, _) in RECIPES.items() if recipe is PASCAL_L]
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
EACH_FILE = pytest.mark.parametrize(
    "path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
EACH_RECIPE = pytest.mark.parametrize("name", RECIPES)
# One recipe per encoder, with and without token reduction.
BUILT = {(encoder.name, "shrunk" in name): name for name, (_, encoder) in RECIPES.items()}.values()


def load(name):
    return load_config(CONFIGS / f"{name}.yaml")


def test_the_table_lists_every_recipe():
    folders = {name.partition("/")[0] for name in RECIPES}
    files = [path for folder in folders for path in (CONFIGS / folder).glob("segvit*.yaml")]
    names = {path.relative_to(CONFIGS).with_suffix("").as_posix() for path in files}
    variants = {f"{name}_1gpu" for name in RECIPES} | {f"{name}_59" for name in WITHOUT_BACKGROUND}
    assert names == set(RECIPES) | variants


@EACH_RECIPE
def test_crop_sizes_and_schedule_are_those_of_the_recipe(name):
    cfg, (recipe, _) = load(name), RECIPES[name]
    assert list(cfg.MODEL.VIT.IMG_SIZE) == list(cfg.INPUT.CROP.SIZE) == [recipe.crop, recipe.crop]
    assert recipe.iterations == cfg.SOLVER.MAX_ITER
    assert recipe.weight_decay == cfg.SOLVER.WEIGHT_DECAY
    assert recipe.power == cfg.SOLVER.POLY_POWER
    assert (cfg.INPUT.MAX_SIZE_TRAIN, *cfg.INPUT.MIN_SIZE_TRAIN) == recipe.base
    assert recipe.test_short == cfg.INPUT.MIN_SIZE_TEST
    assert recipe.classes == cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES


@EACH_RECIPE
def test_windows_and_test_scales_are_those_of_the_recipe(name):
    test, (recipe, _) = load(name).TEST, RECIPES[name]
    assert test.WINDOW.ENABLED
    assert ([recipe.crop] * 2, [recipe.stride] * 2) == (test.WINDOW.SIZE, test.WINDOW.STRIDE)
    scales = [side / recipe.test_short for side in test.AUG.MIN_SIZES]
    assert scales == pytest.approx([0.5, 0.75, 1, 1.25, 1.5, 1.75], abs=1e-2)
    assert test.AUG.FLIP and not test.AUG.ENABLED


@EACH_RECIPE
def test_all_recipes_share_the_solver_and_the_augmentation(name):
    cfg = load(name)
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.REFERENCE_WORLD_SIZE) == (16, 8)
    assert (solver.BASE_LR, solver.DECODER_LR_MULTIPLIER, solver.LAYER_DECAY) == (2e-5, 10, 1)
    assert (solver.LR_SCHEDULER_NAME, solver.WARMUP_ITERS, solver.WARMUP_FACTOR) == ("WarmupPolyLR", 1500, 1e-6)
    assert solver.BASE_LR_END == 0
    clip = solver.CLIP_GRADIENTS
    assert (clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE) == (True, "full_model", 35, 2)
    assert solver.NO_WEIGHT_DECAY == ["backbone.*norm*"]
    assert cfg.INPUT.RESIZE_RATIO_RANGE == [0.5, 2.0] and cfg.INPUT.RESIZE_RATIO_SAMPLING == "uniform"
    assert cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA == 0.75 and cfg.INPUT.PHOTOMETRIC_STRENGTH == 1
    assert cfg.INPUT.FORMAT == "RGB" and cfg.INPUT.RANDOM_FLIP == "horizontal"
    assert ("diagonal" if "segvitv2" in name else "mix") == cfg.MODEL.SEGVIT.OUTPUT
    assert not cfg.MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS
    weights = cfg.MODEL.SEGVIT
    assert (weights.CLASS_WEIGHT, weights.FOCAL_WEIGHT, weights.DICE_WEIGHT, weights.NO_OBJECT_WEIGHT) == (
        1,
        20,
        1,
        0.1,
    )


@EACH_RECIPE
def test_the_encoder_and_its_decoder_are_those_of_the_recipe(name):
    cfg, (_, encoder) = load(name), RECIPES[name]
    vit = cfg.MODEL.VIT
    assert (encoder.name, encoder.tag) == (vit.NAME, vit.PRETRAINED)
    assert f"{vit.NAME}.{vit.PRETRAINED}" in timm.list_pretrained(f"{vit.NAME}.*")
    assert encoder.pixels == (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    assert (encoder.keeps_prefix_tokens, False) == (vit.KEEP_PREFIX_TOKENS, vit.FINAL_NORM)
    assert encoder.drop_path == vit.DROP_PATH_RATE
    assert encoder.decoder == (cfg.MODEL.SEGVIT.HIDDEN_DIM, cfg.MODEL.SEGVIT.NUM_HEADS)
    assert (cfg.MODEL.SEGVIT.NUM_LAYERS, cfg.MODEL.SEGVIT.DROPOUT) == (3, 0.1)


@EACH_RECIPE
def test_the_decoder_reads_the_stages_of_the_recipe(name):
    cfg, (_, encoder) = load(name), RECIPES[name]
    vit, last = cfg.MODEL.VIT, encoder.stages[-1]
    reduction, upsampling, block, stages = "none", "none", None, list(encoder.stages)
    if name.endswith("_shrunk"):
        reduction, upsampling, block, stages = "shrunk", "learned", 8, [7, 23]
    elif name.endswith("_shrunk_pp"):  # ours: block and up-sampling
        block = {23: 4, 11: 2}[last]
        reduction, upsampling, stages = "shrunk++", "nearest", [block - 1, last]
    elif name.endswith("_cells"):
        reduction = "cells"
    assert stages == list(vit.OUT_INDICES)
    assert [f"block{index}" for index in reversed(stages)] == cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES
    assert reduction == vit.REDUCTION
    assert upsampling == cfg.MODEL.SEGVIT.QUERY_UPSAMPLING
    assert block in (None, vit.REDUCTION_BLOCK)


@pytest.mark.parametrize("name", BUILT)
def test_the_model_is_built_as_its_config_says(name):
    model, (recipe, encoder) = meta_model(name), RECIPES[name]
    patch = model.backbone.size_divisibility
    assert recipe.crop % patch == 0 and model.backbone.img_size == (recipe.crop, recipe.crop)
    assert len(model.backbone.encoder.blocks) == encoder.stages[-1] + 1
    assert model.windows is not None
    assert bool(model.backbone.encoder.embedding.num_prefix_tokens) == encoder.keeps_prefix_tokens


@EACH_RECIPE
def test_the_variant_for_one_gpu_differs_in_precision_and_world_size_only(name):
    changed = {
        "MODEL.VIT.GRADIENT_CHECKPOINTING": True,
        "SOLVER.REFERENCE_WORLD_SIZE": 1,
        "SOLVER.AMP.ENABLED": True,
        "SOLVER.AMP.PRECISION": "bfloat16",
    }
    variant = load(f"{name}_1gpu")
    assert variant == load_config(CONFIGS / f"{name}.yaml", [item for pair in changed.items() for item in pair])
    assert scale_to_processes(variant, 1) == variant


def test_the_variant_for_one_gpu_builds_an_encoder_with_gradient_checkpointing():
    assert meta_model("ade20k/segvit_vit_base_512_1gpu").backbone.encoder.gradient_checkpointing


@EACH_RECIPE
def test_a_recipe_on_one_process_trains_on_as_many_images(name):
    recipe = load(name).SOLVER
    scaled = scale_to_processes(load(name), 1).SOLVER
    assert (2, pytest.approx(2e-5 / 8)) == (scaled.IMS_PER_BATCH, scaled.BASE_LR)
    assert scaled.MAX_ITER * scaled.IMS_PER_BATCH == recipe.MAX_ITER * recipe.IMS_PER_BATCH
    assert scaled.WARMUP_ITERS == 8 * recipe.WARMUP_ITERS


@pytest.mark.parametrize("name", WITHOUT_BACKGROUND)
def test_the_variant_without_background_differs_in_the_dataset_only(name):
    changed = {
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 59,
        "DATASETS.TRAIN": ("pascal_context_59_sem_seg_train",),
        "DATASETS.TEST": ("pascal_context_59_sem_seg_val",),
    }
    variant = load(f"{name}_59")
    assert variant == load_config(CONFIGS / f"{name}.yaml", [item for pair in changed.items() for item in pair])


@EACH_FILE
def test_no_file_repeats_what_it_inherits(path):
    """A repeated value would hide a later change of the base."""
    *bases, (_, own) = config_layers(path)
    inherited = {key: value for _, layer in bases for key, value in layer.items()}
    assert not {key for key, value in own.items() if key in inherited and inherited[key] == value}


@EACH_FILE
def test_no_file_changes_the_batch_without_the_learning_rate(path):
    assert unscaled_batch(path, (), get_segvit_cfg()) == ""


@pytest.mark.parametrize("name", GMACS)
def test_macs_equal_those_of_the_official_release(name):
    assert macs_of(name)["total"] == pytest.approx(GMACS[name] * 1e9, rel=5e-3)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_equal_those_of_the_official_release(name):
    total, backbone, head = PARAMETERS[name]
    assert count_params(meta_model(name).network) == {"total": total, "backbone": backbone, "sem_seg_head": head}
