"""Keys of Detectron2 that no code of this project reads: a changed value is refused, and the error names the remedy."""

import ast
from pathlib import Path

import detectron2
import pytest
from detectron2.config import get_cfg

import segvit
from helpers.repository import CONFIGS
from segvit.config.conditional_keys import RULES
from segvit.config.unread_keys import GRANTED, READ, detectron2_keys, flat, reason, require_read
from segvit.d2 import get_segvit_cfg, load_config
from segvit.errors import UserError

BASE = CONFIGS / "Base-SegViT.yaml"
PACKAGE = Path(segvit.__file__).parent
# The files of Detectron2 whose code runs: the trainer, the schedules, clipping, and the builders of the components.
DETECTRON2 = [
    Path(detectron2.__file__).parent / file
    for file in (
        "engine/defaults.py",
        "solver/build.py",
        "modeling/meta_arch/build.py",
        "modeling/meta_arch/panoptic_fpn.py",
        "modeling/backbone/build.py",
        "modeling/meta_arch/semantic_seg.py",
        "evaluation/testing.py",
    )
]
CHANGED = {bool: lambda value: not value, int: lambda value: value + 1, float: lambda value: value + 0.25}


def changed(value):
    if type(value) in CHANGED:
        return CHANGED[type(value)](value)
    if isinstance(value, str):
        return f"{value}_changed"
    return 0.5 if value is None else [*value, *(value[-1:] or ["one"])]


def set_key(cfg, key, value):
    *parents, leaf = key.split(".")
    node = cfg
    for parent in parents:
        node = node[parent]
    node[leaf] = value


@pytest.mark.parametrize("key", sorted(flat(get_cfg())))
def test_every_key_of_detectron2_is_read_or_refused(key):
    cfg = get_segvit_cfg()
    require_read(cfg, get_segvit_cfg())
    is_read = key in READ and all(rule.is_met(flat(cfg)) for rule in RULES if key in rule.keys)
    set_key(cfg, key, None if key in GRANTED else changed(flat(cfg)[key]))
    if is_read:
        require_read(cfg, get_segvit_cfg())
        return
    with pytest.raises(UserError) as error:
        require_read(cfg, get_segvit_cfg())
    assert str(error.value).startswith(f"{key} ") and "Leave it at" in str(error.value)


def test_read_keys_exist():
    assert not READ - detectron2_keys()
    assert not {key for rule in RULES for key in (*rule.keys, *rule.switches)} - flat(get_segvit_cfg()).keys()


def attributes(path):
    """(owner, name) of every attribute in capitals that a file reads: `cfg.INPUT.FORMAT` is ("INPUT", "FORMAT")."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr.isupper():
            parent = node.value
            yield (parent.attr if isinstance(parent, ast.Attribute) else getattr(parent, "id", "")).upper(), node.attr


# Names of variables that hold a group of keys.
ALIASES = {"CLIP": "CLIP_GRADIENTS", "HEAD": "SEM_SEG_HEAD", "CFG": "CLIP_GRADIENTS"}


def test_keys_that_are_listed_as_read_are_read():
    found = {pair for path in (*PACKAGE.rglob("*.py"), *DETECTRON2) for pair in attributes(path)}
    found |= {(ALIASES[owner], name) for owner, name in found if owner in ALIASES}
    for key in READ:
        owner, _, name = key.rpartition(".")
        assert (owner.rpartition(".")[2] or "CFG", name) in found, key


@pytest.mark.parametrize(
    ("opts", "remedy"),
    [
        (["MODEL.BACKBONE.FREEZE_AT", "3"], "MODEL.VIT.FROZEN"),
        (["SOLVER.WEIGHT_DECAY_NORM", "0.1"], "SOLVER.NO_WEIGHT_DECAY"),
        (["SOLVER.MOMENTUM", "0.5"], "AdamW"),
        (["SOLVER.STEPS", "(5,)"], "WarmupMultiStepLR"),
        (["DATALOADER.REPEAT_THRESHOLD", "0.1"], "RepeatFactorTrainingSampler"),
        (["MODEL.RESNETS.DEPTH", "101"], "MODEL.VIT"),
        (["TEST.PRECISE_BN.ENABLED", "True"], "MODEL.VIT.STEM"),
        (["VIS_PERIOD", "5"], "TEST.SAVE_PREDICTIONS"),
    ],
)
def test_the_remedy_is_named(opts, remedy):
    with pytest.raises(UserError, match=remedy) as error:
        load_config(BASE, opts)
    assert opts[0] in str(error.value)


def test_keys_of_components_of_other_projects_are_accepted():
    cfg = get_segvit_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.RESNETS.DEPTH = "build_resnet_backbone", 101
    require_read(cfg, get_segvit_cfg())
    cfg.VIS_PERIOD = 3
    with pytest.raises(UserError, match="VIS_PERIOD"):
        require_read(cfg, get_segvit_cfg())


def test_a_value_equal_to_the_actual_behaviour_is_accepted():
    assert not load_config(BASE, ["DATALOADER.ASPECT_RATIO_GROUPING", "False"]).DATALOADER.ASPECT_RATIO_GROUPING


def test_steps_are_accepted_with_a_multi_step_schedule():
    opts = ["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", "(5,)", "SOLVER.GAMMA", "0.5"]
    assert load_config(BASE, opts).SOLVER.STEPS == (5,)


def test_the_error_has_the_reason_of_the_smallest_group_of_keys():
    assert "SEGVIT.HIDDEN_DIM" in reason("MODEL.SEM_SEG_HEAD.CONVS_DIM")
    assert reason("MODEL.SEM_SEG_HEAD.NORM") == reason("MODEL.SEM_SEG_HEAD")
    assert reason("GLOBAL.HACK") == reason("")


def test_a_saved_config_is_read_again(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(load_config(BASE).dump())
    assert flat(load_config(path)) == flat(load_config(BASE))
