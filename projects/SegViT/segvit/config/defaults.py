"""Detectron2's default config with the keys of SegViT: `get_segvit_cfg`."""

from __future__ import annotations

import copy

from yacs.config import CfgNode

from segvit.config.model_keys import MODEL_KEYS
from segvit.config.training_keys import TRAINING_KEYS


def get_segvit_cfg() -> CfgNode:
    """Detectron2's default config with SegViT's keys added."""
    from detectron2.config import get_cfg

    cfg = get_cfg()
    add_segvit_config(cfg)
    return cfg


def add_segvit_config(cfg: CfgNode) -> None:
    """Add SegViT's keys and defaults to a Detectron2 config, in place.

    Where Detectron2 has a key already, SegViT uses it: `MODEL.SEM_SEG_HEAD.{NUM_CLASSES, IGNORE_VALUE, IN_FEATURES}`,
    `MODEL.PIXEL_{MEAN,STD}`, `INPUT.*`, `SOLVER.*`, `TEST.*`.
    """
    for key in (*MODEL_KEYS, *TRAINING_KEYS):
        *parents, leaf = key.name.split(".")
        node = cfg
        for parent in parents:
            node = node.setdefault(parent, type(cfg)())
        node[leaf] = copy.deepcopy(key.default)
