"""`head_config`: a recipe with another head, to compare heads on the same encoder, images, iterations and seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from detectron2.config import CfgNode

from segvit.config.overrides import Layer
from segvit.config.validation import value_of
from segvit.errors import UserError
from segvit.experiments.backbone_comparison import depth_of, matching_patterns
from segvit.experiments.cached_run import config_to_compare, merge
from segvit.experiments.encoder_only import head as encoder_only_head  # registered with Detectron2 by the import
from segvit.experiments.seeded_runs import SeededRuns
from segvit.visualization.curves import SpreadCurve

# The most blocks that EoMT's queries run through (EoMT, section 4.1).
MAX_QUERY_BLOCKS = 4

# What a recipe must have. EoMT's mask annealing would count each part of a batch as an iteration.
REQUIRED: Layer = {
    "MODEL.BACKBONE.NAME": "PlainViT",
    "MODEL.SEM_SEG_HEAD.NAME": "AttentionToMaskHead",
    "MODEL.VIT.REDUCTION": "none",
    "SOLVER.ACCUM_STEPS": 1,
}

# Detail of a recipe that has none, as in configs/parts/Base-Detail.yaml.
DETAIL: Layer = {
    "MODEL.SEGVIT.DETAIL.SOURCE": "image",
    "MODEL.SEGVIT.DETAIL.DIM": 64,
    "MODEL.SEGVIT.DETAIL.STRIDE": 4,
}


def shared_config(config_file: str | Path, opts: Sequence[object]) -> CfgNode:
    """The recipe that all heads share, with boundary IoU.

    Raises:
        UserError: it cannot be read, or has no plain ViT, all tokens and ATM head, or accumulates gradients.
    """
    cfg = merge(config_to_compare(config_file, opts), {"TEST.BOUNDARY_IOU": True})
    for key, required in REQUIRED.items():
        if value_of(cfg, key) != required:
            raise UserError(f"{key} {value_of(cfg, key)!r}: heads are compared on a recipe with {required!r}")
    return cfg


def head_config(cfg: CfgNode, head: str) -> CfgNode:
    """The recipe with a head of `HEADS`. Patterns of SOLVER.NO_WEIGHT_DECAY that match no parameter are removed."""
    cfg = merge(cfg, HEADS[head](cfg))
    return merge(cfg, {"SOLVER.NO_WEIGHT_DECAY": matching_patterns(cfg)})


def _stages(*indices: int) -> Layer:
    return {
        "MODEL.VIT.OUT_INDICES": list(indices),
        "MODEL.SEM_SEG_HEAD.IN_FEATURES": [f"block{index}" for index in indices],
    }


def _classifier(cfg: CfgNode, kind: str) -> Layer:
    """A classifier of the tokens of the deepest stage, with cross-entropy."""
    return {
        "MODEL.SEM_SEG_HEAD.NAME": "PerPixelHead",
        "MODEL.SEGVIT.CLASSIFIER": kind,
        "MODEL.SEGVIT.LOSS": "pixel",
        "MODEL.SEGVIT.OUTPUT": "softmax",
        "MODEL.SEGVIT.DETAIL.SOURCE": "none",
        **_stages(max(cfg.MODEL.VIT.OUT_INDICES)),
    }


def _eomt(cfg: CfgNode) -> Layer:
    """EoMT's way in the last quarter of the blocks; they and the queries learn at the encoder's rate."""
    depth = depth_of(cfg)
    patterns = [pattern.replace("class_queries", "queries") for pattern in cfg.SOLVER.NO_WEIGHT_DECAY]
    return {
        "MODEL.SEM_SEG_HEAD.NAME": encoder_only_head.EncoderOnlyHead.__name__,
        "MODEL.SEGVIT.OUTPUT": "mix",
        "MODEL.SEGVIT.DETAIL.SOURCE": "none",
        "SOLVER.DECODER_LR_MULTIPLIER": 1.0,
        "SOLVER.NO_WEIGHT_DECAY": patterns,
        **_stages(depth - 1 - min(-(-depth // 4), MAX_QUERY_BLOCKS)),
    }


def _detail(cfg: CfgNode) -> Layer:
    """The recipe's own detail, or that of our recipes."""
    return {} if cfg.MODEL.SEGVIT.DETAIL.SOURCE != "none" else DETAIL


# The heads, simplest first: name -> the config values that make it of a recipe with ATM.
HEADS: dict[str, Callable[[CfgNode], Layer]] = {
    # Its own loss is that of the encoder: the recipe's would count it twice.
    "linear": lambda cfg: {**_classifier(cfg, "linear"), "MODEL.SEGVIT.ENCODER_WEIGHT": 0.0},
    "segmenter": lambda cfg: _classifier(cfg, "segmenter"),
    "eomt": _eomt,
    "atm": lambda cfg: {"MODEL.SEGVIT.DETAIL.SOURCE": "none"},
    "atm_detail": _detail,
}


def score_curves(results: Sequence[SeededRuns], *, on_cpu: bool) -> dict[str, dict[str, SpreadCurve]]:
    """Panel -> head -> the scores of its evaluations over minutes, mean and deviation over seeds.

    Args:
        results: with boundary IoU.
        on_cpu: the minutes are those of CPU time. An evaluation takes place when its share of the iterations has run.
    """
    panels: dict[str, dict[str, SpreadCurve]] = {"mIoU": {}, "boundary IoU": {}}
    for result in results:
        runs = list(result.runs.values())
        iterations = runs[0].iterations
        minutes = (result.cpu_minutes if on_cpu else None) or result.minutes
        times = [minutes * iteration / iterations[-1] for iteration in iterations]
        panels["mIoU"][result.name] = SpreadCurve.of(times, [run.miou for run in runs])
        panels["boundary IoU"][result.name] = SpreadCurve.of(times, [run.boundary_ious for run in runs])
    return panels
