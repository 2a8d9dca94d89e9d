"""`evaluate_backbone`: encoders are compared by the mIoU that the ATM decoder reaches on them (SegViTv2).

The decoder is light, so its accuracy depends mainly on the encoder's representation. Every encoder, trained or frozen,
gets the same config, number of iterations and seed.
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
from segvit.config.overrides import Layer
from segvit.config.validation import value_of
from segvit.errors import UserError, renamed_arguments
from segvit.experiments.cached_run import RunResult, merge, run_or_load
from segvit.modeling.encoder.vit_builder import create_timm_vit
from segvit.modeling.encoder.vit_families import family_of


@dataclass(frozen=True)
class BackboneChoice:
    """An encoder to compare: its timm name, and a tag of timm's or a file with its weights ("" for random weights)."""

    name: str
    pretrained: str = ""

    @classmethod
    def parse(cls, text: str) -> BackboneChoice:
        """Parse "name" or "name:tag-or-file"."""
        name, _, pretrained = text.partition(":")
        return cls(name, pretrained)

    def __str__(self) -> str:
        return f"{self.name}:{self.pretrained}" if self.pretrained else self.name

    @property
    def folder_name(self) -> str:
        return re.sub(r"[^\w.-]+", "-", str(self))


@dataclass(frozen=True, kw_only=True)
class BackboneResult(RunResult):
    """The result of one encoder; `overrides` are the config values that differ from the shared config."""

    name: str
    overrides: Layer


def evaluate_backbone(
    cfg: CfgNode, choice: BackboneChoice, folder: Path, hooks: Callable[[], list[HookBase]] = list
) -> BackboneResult:
    """Train the decoder on one encoder, or load the result of an earlier call with the same config.

    Args:
        cfg: the config that all encoders share, with one test set; not changed.
        choice: the encoder.
        folder, hooks: see `run_or_load`.

    Raises:
        UserError: if the encoder does not exist or does not fit, or the folder belongs to a run with another config.
    """
    overrides = adapt_config(cfg, choice)
    run = run_or_load(merge(cfg, overrides), folder, hooks)
    return BackboneResult(name=str(choice), overrides=overrides, **vars(run))


def adapt_config(cfg: CfgNode, choice: BackboneChoice) -> Layer:
    """The config values that must change for an encoder.

    The decoder reads stages at the same relative depth. Prefix tokens are kept if the timm family needs them. The pixel
    mean and standard deviation become those of timm's weights. Patterns of SOLVER.NO_WEIGHT_DECAY that match no
    parameter of this encoder are removed.

    Raises:
        UserError: if the encoder does not exist, or has too few blocks for the stages.
    """
    overrides: Layer = {"MODEL.VIT.NAME": choice.name, "MODEL.VIT.PRETRAINED": choice.pretrained}
    before, after = depth_of(cfg), depth_of(merge(cfg, overrides))
    if before != after:
        overrides |= _relative_depth(cfg, before, after)
    with renamed_arguments(name="MODEL.VIT.NAME"), torch.device("meta"):
        family = family_of(type(create_timm_vit(choice.name, img_size=(224, 224))))
    if family.needs_prefix_tokens:
        overrides["MODEL.VIT.KEEP_PREFIX_TOKENS"] = True
    if f"{choice.name}.{choice.pretrained}" in timm.list_pretrained(choice.name):
        overrides |= _pixel_statistics(f"{choice.name}.{choice.pretrained}", cfg.INPUT.FORMAT)
    overrides["SOLVER.NO_WEIGHT_DECAY"] = matching_patterns(merge(cfg, overrides))
    return {key: value for key, value in overrides.items() if value != value_of(cfg, key)}


def matching_patterns(cfg: CfgNode) -> list[str]:
    """The patterns of SOLVER.NO_WEIGHT_DECAY that match a parameter of the config's model."""
    names = [name for name, _ in build_random_model(cfg, device="meta").named_parameters()]
    return [pattern for pattern in cfg.SOLVER.NO_WEIGHT_DECAY if any(fnmatchcase(name, pattern) for name in names)]


def depth_of(cfg: CfgNode) -> int:
    """The number of blocks of the config's encoder, including those after the last stage."""
    if cfg.MODEL.VIT.DEPTH:
        return cfg.MODEL.VIT.DEPTH
    with renamed_arguments(name="MODEL.VIT.NAME"), torch.device("meta"):
        return len(create_timm_vit(cfg.MODEL.VIT.NAME, img_size=(224, 224)).blocks)


def _relative_depth(cfg: CfgNode, before: int, after: int) -> Layer:
    """Move stages and reduction block from an encoder of `before` blocks to the same relative depth in `after`."""

    def moved(block: int) -> int:
        return max(round((block + 1) * after / before) - 1, 0)

    vit = cfg.MODEL.VIT
    if len({moved(index) for index in vit.OUT_INDICES}) < len(vit.OUT_INDICES):
        raise UserError(
            f"an encoder of {after} blocks is too shallow for the {len(vit.OUT_INDICES)} stages of one of {before}"
        )
    features = [int(name.removeprefix("block")) for name in cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES]
    overrides: Layer = {
        "MODEL.VIT.OUT_INDICES": [moved(index) for index in vit.OUT_INDICES],
        "MODEL.SEM_SEG_HEAD.IN_FEATURES": [f"block{moved(index)}" for index in features],
    }
    if vit.REDUCTION == "merge":
        overrides["MODEL.VIT.MERGE.BLOCK"] = round(vit.MERGE.BLOCK * after / before)
        overrides["MODEL.VIT.MERGE.GLOBAL_BLOCKS"] = [
            round(block * after / before) for block in vit.MERGE.GLOBAL_BLOCKS
        ]
    elif vit.REDUCTION in ("shrunk", "shrunk++"):
        overrides["MODEL.VIT.REDUCTION_BLOCK"] = max(round(vit.REDUCTION_BLOCK * after / before), 1)
    return overrides


def _pixel_statistics(tagged_name: str, image_format: str) -> Layer:
    """The mean and standard deviation of timm's weights, scaled to 0..255, in the channel order of INPUT.FORMAT."""
    pretrained = timm.get_pretrained_cfg(tagged_name)
    assert pretrained is not None  # the caller has found the name in timm's list
    order = slice(None, None, -1) if image_format == "BGR" else slice(None)
    return {
        "MODEL.PIXEL_MEAN": [round(255 * channel, 3) for channel in pretrained.mean[order]],
        "MODEL.PIXEL_STD": [round(255 * channel, 3) for channel in pretrained.std[order]],
    }
