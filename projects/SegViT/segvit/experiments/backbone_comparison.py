"""The ATM decoder as an indicator of how well an encoder represents images.

The application is SegViTv2's (arXiv 2306.06289): the decoder is light, so what it reaches tells encoders apart. Here
every encoder is trained, or with frozen weights only read, under the same config, iterations and seed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import timm
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase

from segvit.analysis.from_config import build_random_model
from segvit.config.keys import config_keys
from segvit.config.validation import value_of
from segvit.errors import UserError
from segvit.experiments.cached_run import Overrides, RunResult, merge, run_or_load
from segvit.modeling.encoder.vit_builder import create_timm_vit
from segvit.modeling.encoder.vit_families import family_of


@dataclass(frozen=True)
class BackboneChoice:
    """An encoder to compare: a timm name, and where its weights come from ("" for random ones)."""

    name: str
    pretrained: str = ""

    @classmethod
    def parse(cls, text: str) -> BackboneChoice:
        """From "name" or "name:tag-or-file"."""
        name, _, pretrained = text.partition(":")
        return cls(name, pretrained)

    def __str__(self) -> str:
        return f"{self.name}:{self.pretrained}" if self.pretrained else self.name

    @property
    def folder_name(self) -> str:
        return re.sub(r"[^\w.-]+", "-", str(self))


@dataclass(frozen=True, kw_only=True)
class BackboneResult(RunResult):
    """What one encoder reached; `overrides` are its changes to the config."""

    name: str
    overrides: Overrides


def evaluate_backbone(
    cfg: CfgNode, choice: BackboneChoice, folder: Path, hooks: Callable[[], list[HookBase]] = list
) -> BackboneResult:
    """Train the decoder on one encoder, or read what an earlier call with the same config found.

    Args:
        cfg: the config that all encoders share, for one test set; left unchanged.
        choice: the encoder.
        folder, hooks: see `run_or_load`.

    Raises:
        UserError: where the encoder does not exist or does not fit, or the folder holds a run of another config.
    """
    overrides = adapt_config(cfg, choice)
    run = run_or_load(merge(cfg, overrides), folder, hooks)
    return BackboneResult(name=str(choice), overrides=overrides, **vars(run))


def adapt_config(cfg: CfgNode, choice: BackboneChoice) -> Overrides:
    """What a config must change for an encoder, as key -> value.

    The decoder reads the stages at the same relative depth. Prefix tokens stay where the family cannot do without. The
    pixel mean and standard deviation are those that timm's weights were trained with. Exemptions from weight decay
    that name no parameter of this encoder are dropped.
    """
    overrides: Overrides = {"MODEL.VIT.NAME": choice.name, "MODEL.VIT.PRETRAINED": choice.pretrained}
    before, after = depth_of(cfg), depth_of(merge(cfg, overrides))
    if before != after:
        overrides |= _relative_depth(cfg, before, after)
    with config_keys(name="MODEL.VIT.NAME"), torch.device("meta"):
        family = family_of(type(create_timm_vit(choice.name, img_size=(224, 224))))
    if family.needs_prefix_tokens:
        overrides["MODEL.VIT.KEEP_PREFIX_TOKENS"] = True
    if f"{choice.name}.{choice.pretrained}" in timm.list_pretrained(choice.name):
        overrides |= _pixel_statistics(f"{choice.name}.{choice.pretrained}", cfg.INPUT.FORMAT)
    names = [name for name, _ in build_random_model(merge(cfg, overrides), device="meta").named_parameters()]
    patterns = list(value_of(cfg, "SOLVER.NO_WEIGHT_DECAY"))
    overrides["SOLVER.NO_WEIGHT_DECAY"] = [
        pattern for pattern in patterns if any(fnmatchcase(name, pattern) for name in names)
    ]
    return {key: value for key, value in overrides.items() if value != value_of(cfg, key)}


def depth_of(cfg: CfgNode) -> int:
    """The number of blocks of the config's encoder, those behind the last stage included."""
    depth = value_of(cfg, "MODEL.VIT.DEPTH")
    if depth:
        return depth
    with config_keys(name="MODEL.VIT.NAME"), torch.device("meta"):
        return len(create_timm_vit(value_of(cfg, "MODEL.VIT.NAME"), img_size=(224, 224)).blocks)


def _relative_depth(cfg: CfgNode, before: int, after: int) -> Overrides:
    def moved(block: int) -> int:
        return max(round((block + 1) * after / before) - 1, 0)

    indices, features = value_of(cfg, "MODEL.VIT.OUT_INDICES"), value_of(cfg, "MODEL.SEM_SEG_HEAD.IN_FEATURES")
    if len({moved(index) for index in indices}) < len(indices):
        raise UserError(f"an encoder of {after} blocks has no {len(indices)} stages where one of {before} has them")
    overrides: Overrides = {
        "MODEL.VIT.OUT_INDICES": [moved(index) for index in indices],
        "MODEL.SEM_SEG_HEAD.IN_FEATURES": [f"block{moved(int(name.removeprefix('block')))}" for name in features],
    }
    if value_of(cfg, "MODEL.VIT.REDUCTION") != "none":
        block = value_of(cfg, "MODEL.VIT.REDUCTION_BLOCK")
        overrides["MODEL.VIT.REDUCTION_BLOCK"] = max(round(block * after / before), 1)
    return overrides


def _pixel_statistics(tagged_name: str, image_format: str) -> Overrides:
    listed = timm.get_pretrained_cfg(tagged_name)
    order = slice(None, None, -1) if image_format == "BGR" else slice(None)
    return {
        "MODEL.PIXEL_MEAN": [round(255 * channel, 3) for channel in listed.mean[order]],
        "MODEL.PIXEL_STD": [round(255 * channel, 3) for channel in listed.std[order]],
    }
