"""Config files and keys: every file builds its model, and every key that this project adds is read in one file."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_model

import segvit
import segvit.data
from helpers.config_models import meta_model
from segvit.analysis.from_config import build_random_model
from segvit.config.continual_step import continual_step
from segvit.d2 import SegViT, add_segvit_config, get_segvit_cfg, load_config
from segvit.d2.solver import build_lr_scheduler, build_optimizer
from segvit.modeling.encoder.stage_shape import StageShape
from segvit.modeling.tokens import padded_size

PACKAGE = Path(segvit.__file__).parent
CONFIGS = PACKAGE.parent / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
# Variants for one GPU and without background are compared with their recipes in test_recipes.py, and not built here.
LEAVES = [path for path in FILES if not path.name.startswith("Base-") and not path.stem.endswith("_1gpu")]
BUILT = [path for path in LEAVES if not path.stem.endswith("_59")]


def name_of(path):
    return str(path.relative_to(CONFIGS))


@pytest.fixture
def cfg(path, tmp_path):
    """The config of a file, with a folder of two classes for those that need one."""
    if path.parent.name != "custom":
        return load_config(path)
    (tmp_path / "classes.txt").write_text("background\nleaf\n")
    return load_config(path, ["DATASETS.FOLDER", str(tmp_path)])


def test_configs_of_every_dataset_are_found():
    folders = {"ade20k", "camvid", "coco_stuff_10k", "custom", "pascal_context", "quick_schedules"}
    assert {path.parent.name for path in LEAVES} >= folders


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_config_file_is_yaml_without_python_tags(path):
    """For files with such tags, Detectron2 falls back to an unsafe loader."""
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: f"{path.parent.name}/{path.stem}")


@each(BUILT)
def test_a_config_builds_its_model_and_optimizer(path, cfg):
    """On the meta device, without memory for weights."""
    is_custom = path.parent.name == "custom"
    model = build_random_model(cfg, device="meta") if is_custom else meta_model(name_of(path).removesuffix(".yaml"))
    assert type(model) is META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    scores = model([{"image": torch.zeros(3, *cfg.MODEL.VIT.IMG_SIZE, device="meta")}])[0]["sem_seg"]
    assert scores.shape == (cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, *cfg.MODEL.VIT.IMG_SIZE)
    patch = model.backbone.size_divisibility
    assert padded_size(cfg.INPUT.CROP.SIZE, (patch, patch)) == padded_size(cfg.MODEL.VIT.IMG_SIZE, (patch, patch))
    optimizer = build_optimizer(cfg, model)  # refuses patterns that match no parameter
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained) > 0
    is_step = continual_step(cfg) is not None and continual_step(cfg).index > 0
    assert is_step or len(trained) == len(list(model.parameters()))
    assert len(build_lr_scheduler(cfg, optimizer).get_last_lr()) == len(optimizer.param_groups)


@each(LEAVES)
def test_a_config_has_the_classes_of_its_datasets(path, cfg):
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    assert cfg.DATASETS.TRAIN and cfg.DATASETS.TEST
    for name in names:
        assert name in DatasetCatalog
        assert len(MetadataCatalog.get(name).stuff_classes) == cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        assert MetadataCatalog.get(name).ignore_label == cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE


def test_the_defaults_build_a_model():
    cfg = get_segvit_cfg()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    assert isinstance(model, SegViT)
    assert list(model.backbone.output_shape()) == ["block5", "block7", "block11"]
    assert model.backbone.output_shape()["block5"] == StageShape(channels=768, height=32, width=32, stride=16)


def leaves(cfg, prefix=()):
    for key, value in cfg.items():
        if isinstance(value, dict):
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key)


OUR_KEYS = sorted(set(leaves(get_segvit_cfg())) - set(leaves(get_cfg())))


def test_add_segvit_config_changes_a_config_in_place():
    cfg = get_cfg()
    add_segvit_config(cfg)
    assert cfg == get_segvit_cfg()
    assert ("MODEL", "SEGVIT", "MASK_LOSS_STRIDE") in OUR_KEYS and ("SOLVER", "BASE_LR") not in OUR_KEYS


def read_keys(path):
    """(node, key) of every `<node>.<KEY>` that a file reads, the node in capitals: `vit.NAME` is ("VIT", "NAME")."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr.isupper():
            parent = node.value
            name = parent.attr if isinstance(parent, ast.Attribute) else getattr(parent, "id", "")
            yield name.upper(), node.attr


def readers():
    files = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for key in read_keys(path):
            files[key].add(str(path.relative_to(PACKAGE)))
    return files


READERS = readers()
# Encoders are alternatives, chosen by MODEL.BACKBONE.NAME. In any one model a component reads a key in one place.
ENCODERS = {"assembly/backbone.py", "assembly/hierarchical_backbone.py"}


@pytest.mark.parametrize("key", OUR_KEYS, ids=".".join)
def test_a_key_is_read_in_one_file(key):
    """Components read keys; experiments/ builds and compares configs."""
    files = {file for file in READERS[key[-2:]] if not file.startswith("experiments/")}
    assert len(files) == 1 or "assembly/backbone.py" in files <= ENCODERS, files
