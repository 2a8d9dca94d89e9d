"""Config keys that are read only with certain values of other keys, and the refusal of values without effect.

A key that is set where its switch is off would be ignored without a word. A switch that is turned off after the key was
set, by a later file or on the command line, is no mistake.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segvit.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadIf:
    """A rule: the keys are read only if one of the switches has one of the values.

    Attributes:
        keys: dotted names.
        switches: of other keys.
        values: of the switches; empty for any value that is not empty, 0 or False.
        in_advance: config files may set these keys while the switch is off: a command may turn it on.
    """

    keys: tuple[str, ...]
    switches: tuple[str, ...]
    values: tuple[Any, ...] = ()
    in_advance: bool = False

    def is_met(self, values: Mapping[str, Any]) -> bool:
        """Whether the keys are read in a config {key: value}."""
        return any(value in self.values if self.values else bool(value) for value in map(values.get, self.switches))

    def readers(self, values: Mapping[str, Any]) -> str:
        """The values of a switch with which the keys are read, for messages."""
        is_flag = any(isinstance(values.get(switch), bool) for switch in self.switches)
        accepted = self.values or ((True,) if is_flag else ())
        return " or ".join(map(repr, accepted)) or "another value"


def read_if(keys: str, switch: str, *values: Any, in_advance: bool = False) -> ReadIf:
    """A rule, with names separated by spaces; all keys are in the group of the first one, whose name has dots."""
    first, *others = keys.split()
    group = first.rpartition(".")[0]
    return ReadIf((first, *(f"{group}.{name}" for name in others)), tuple(switch.split()), values, in_advance)


MASKS = ("AttentionToMaskHead", "ContinualHead")
EDGES = ("shrunk++", "cells")
UPSAMPLING = ("learned", "inherited", "nearest")
GROUPS = "MODEL.SEGVIT.CONTINUAL.PROTOCOL MODEL.SEGVIT.CONTINUAL.GROUPS"
SCHEDULE = "SOLVER.LR_SCHEDULER_NAME"

ENCODER = (
    read_if("MODEL.COMPILE_MODE", "MODEL.COMPILE"),
    read_if("MODEL.VIT.KEEP_PREFIX_TOKENS FUSED_ATTENTION", "MODEL.BACKBONE.NAME", "PlainViT"),
    read_if("MODEL.VIT.PRETRAINED_MIN_MATCH", "MODEL.VIT.PRETRAINED"),
    read_if("MODEL.VIT.RESAMPLE_PATCHES", "MODEL.VIT.PRETRAINED", in_advance=True),
    read_if("MODEL.VIT.STEM_DIM", "MODEL.VIT.STEM", "conv"),
    read_if("MODEL.VIT.REDUCTION_BLOCK", "MODEL.VIT.REDUCTION", "shrunk", "shrunk++"),
    read_if("MODEL.VIT.REDUCTION_SAMPLING", "MODEL.VIT.REDUCTION", "shrunk"),
    read_if("MODEL.VIT.EDGE.BLOCK", "MODEL.VIT.REDUCTION", "shrunk++"),
    read_if("MODEL.VIT.EDGE.SELECTION THRESHOLD SHARE", "MODEL.VIT.REDUCTION", *EDGES),
    read_if("MODEL.VIT.EDGE.THRESHOLD", "MODEL.VIT.EDGE.SELECTION", "threshold"),
    read_if("MODEL.VIT.EDGE.SHARE", "MODEL.VIT.EDGE.SELECTION", "topk"),
    read_if(
        "MODEL.VIT.MERGE.BLOCK SELECTION THRESHOLD SHARE WEIGH_SIZES GLOBAL_BLOCKS", "MODEL.VIT.REDUCTION", "merge"
    ),
    read_if("MODEL.VIT.MERGE.THRESHOLD GLOBAL_THRESHOLD", "MODEL.VIT.MERGE.SELECTION", "threshold"),
    read_if("MODEL.VIT.MERGE.SHARE GLOBAL_SHARE", "MODEL.VIT.MERGE.SELECTION", "topk"),
    read_if("MODEL.VIT.MERGE.GLOBAL_THRESHOLD GLOBAL_SHARE", "MODEL.VIT.MERGE.GLOBAL_BLOCKS"),
    read_if("MODEL.VIT.GRADIENT_CHECKPOINTING", "MODEL.VIT.FROZEN", False),
    read_if("SOLVER.LAYER_DECAY", "MODEL.VIT.FROZEN", False),
    read_if("MODEL.VIT.FROZEN_PRECISION", "MODEL.VIT.FROZEN"),
)

HEAD = (
    read_if("MODEL.SEGVIT.HIDDEN_DIM NUM_HEADS NUM_LAYERS DROPOUT INIT_STD", "MODEL.SEM_SEG_HEAD.NAME", *MASKS),
    read_if("MODEL.SEGVIT.QUERY_UPSAMPLING", "MODEL.SEM_SEG_HEAD.NAME", *MASKS),
    read_if("MODEL.SEGVIT.DETAIL.SOURCE", "MODEL.SEM_SEG_HEAD.NAME", *MASKS),
    read_if("MODEL.SEGVIT.CLASSIFIER", "MODEL.SEM_SEG_HEAD.NAME", "PerPixelHead"),
    read_if("MODEL.SEGVIT.DETAIL.DIM STRIDE", "MODEL.SEGVIT.DETAIL.SOURCE", "image", "stem", "tokens"),
    read_if(
        "MODEL.SEGVIT.UPSAMPLING_LAYERS",
        "MODEL.SEGVIT.QUERY_UPSAMPLING MODEL.SEGVIT.CONTINUAL.QUERY_UPSAMPLING",
        *UPSAMPLING,
    ),
    read_if(
        "MODEL.SEGVIT.FOCAL_WEIGHT DICE_WEIGHT NO_OBJECT_WEIGHT EXCLUDE_IGNORED_PIXELS BOUNDARY_WEIGHT",
        "MODEL.SEGVIT.LOSS",
        "mask",
    ),
    read_if("MODEL.SEGVIT.EDGE_WEIGHT EDGE_CLASS_WEIGHT", "MODEL.VIT.REDUCTION", *EDGES),
    read_if("MODEL.SEGVIT.EDGE_WEIGHT EDGE_CLASS_WEIGHT ENCODER_WEIGHT", "MODEL.VIT.FROZEN", False),
)

CONTINUAL = (
    read_if(
        "MODEL.SEGVIT.CONTINUAL.CLASS_ORDER BACKGROUND_CLASS CLASSES STEP SELECTION ITERATIONS IN_FEATURES "
        "QUERY_UPSAMPLING NUM_LAYERS HIDDEN_DIM ADAPTER_BLOCKS COMPETITION_WEIGHT CALIBRATION",
        GROUPS,
    ),
    read_if("MODEL.SEGVIT.CONTINUAL.ADAPTER_DIM", "MODEL.SEGVIT.CONTINUAL.ADAPTER_BLOCKS"),
    read_if("MODEL.SEGVIT.CONTINUAL.CLASS_ORDER", "MODEL.SEGVIT.CONTINUAL.PROTOCOL"),
)

TRAINING = (
    read_if("DATALOADER.REPEAT_THRESHOLD", "DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"),
    read_if("DATALOADER.RANDOM_SUBSET_RATIO", "DATALOADER.SAMPLER_TRAIN", "RandomSubsetTrainingSampler"),
    read_if("DATASETS.TRAIN_REPEAT_FACTOR", "DATALOADER.SAMPLER_TRAIN", "WeightedTrainingSampler"),
    read_if("INPUT.CROP.TYPE SIZE SINGLE_CATEGORY_MAX_AREA CLASS_PROBABILITY FROM_FILE", "INPUT.CROP.ENABLED"),
    read_if("INPUT.MAX_LEVEL", "INPUT.LEVELS", "8bit"),
    read_if("INPUT.PERCENTILES", "INPUT.LEVELS", "percentile"),
    read_if("SOLVER.FIRST_CONFIG", "MODEL.WEIGHTS", ""),
    read_if("SOLVER.STEPS", SCHEDULE, "WarmupMultiStepLR"),
    read_if("SOLVER.GAMMA", SCHEDULE, "WarmupMultiStepLR", "WarmupStepWithFixedGammaLR"),
    read_if("SOLVER.NUM_DECAYS", SCHEDULE, "WarmupStepWithFixedGammaLR"),
    read_if("SOLVER.POLY_POWER", SCHEDULE, "WarmupPolyLR"),
    read_if("SOLVER.BASE_LR_END", SCHEDULE, "WarmupPolyLR", "WarmupCosineLR"),
    read_if("SOLVER.WARMUP_FACTOR WARMUP_METHOD", "SOLVER.WARMUP_ITERS"),
    read_if("SOLVER.CLIP_GRADIENTS.CLIP_TYPE CLIP_VALUE NORM_TYPE", "SOLVER.CLIP_GRADIENTS.ENABLED"),
    read_if("SOLVER.CLIP_GRADIENTS.NORM_TYPE", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model", "norm"),
    read_if("SOLVER.AMP.PRECISION", "SOLVER.AMP.ENABLED"),
    read_if("SOLVER.EMA.DECAY", "SOLVER.EMA.ENABLED"),
    read_if("TRACKING.PROJECT NAME", "TRACKING.TO", in_advance=True),
)

TEST = (
    read_if("INPUT.MAX_SIZE_TEST", "INPUT.MIN_SIZE_TEST", in_advance=True),
    read_if("TEST.WINDOW.SIZE STRIDE BATCH_SIZE ACCUMULATE_ON_CPU", "TEST.WINDOW.ENABLED", in_advance=True),
    read_if("TEST.AUG.MIN_SIZES MAX_SIZE FLIP", "TEST.AUG.ENABLED", in_advance=True),
    # Only the convolutional stem has batch norms, and those of an average are averages.
    read_if("TEST.PRECISE_BN.ENABLED", "MODEL.VIT.STEM", "conv"),
    read_if("TEST.PRECISE_BN.ENABLED", "SOLVER.EMA.ENABLED", False),
    read_if("TEST.PRECISE_BN.NUM_ITER", "TEST.PRECISE_BN.ENABLED"),
)

RULES = (*ENCODER, *HEAD, *CONTINUAL, *TRAINING, *TEST)


def require_switches(
    values: Mapping[str, Any],
    unchanged: Mapping[str, Any],
    layers: Sequence[Iterable[str]],
    *,
    tolerant: Collection[int] = (),
    foreign: bool = False,
    warns: bool = True,
) -> None:
    """Check that every key with a changed value is read.

    Args:
        values: {key: value} of the config.
        unchanged: the same with all defaults.
        layers: the keys that each file sets, later files after earlier ones; those of the command line come last.
        tolerant: indices of layers whose keys without effect are a warning: files that a run has written, which hold
            all keys, and overrides of several configs.
        foreign: the model has components of other projects, which may read any key below MODEL.
        warns: show that warning; what has no effect is of interest in training.

    Raises:
        UserError: naming the first key that is not read, its switch and the remedy.
    """
    without_effect: list[str] = []
    for rule in RULES:
        if rule.is_met(values):
            continue
        turned_off = max(_last(layers, switch) for switch in rule.switches)
        switched = ", ".join(f"{switch} is {values.get(switch)!r}" for switch in rule.switches)
        for key in rule.keys:
            if values.get(key) == unchanged.get(key) or (foreign and key.startswith("MODEL.")):
                continue
            set_in = _last(layers, key)
            if set_in < (len(layers) - 1 if rule.in_advance else turned_off):
                continue
            if set_in in tolerant:
                without_effect += [] if rule.in_advance else [f"{key} ({switched})"]
                continue
            raise UserError(
                f"{key} {values[key]!r} would have no effect: {switched}, and only {rule.readers(values)} reads it. "
                f"Leave it at {unchanged[key]!r}, or change {' or '.join(rule.switches)}"
            )
    if without_effect:
        logger.log(
            logging.WARNING if warns else logging.DEBUG,
            "Keys without effect in this config: %s",
            ", ".join(without_effect),
        )


def _last(layers: Sequence[Iterable[str]], key: str) -> int:
    """The index of the last layer that sets a key; -1 for none, so that a default is older than all layers."""
    return max((index for index, layer in enumerate(layers) if key in layer), default=-1)
