"""The batch of a recipe: scaled to the number of processes with its learning rate, never changed without it.

The rule is Detectron2's (`DefaultTrainer.auto_scale_workers`): a config says by SOLVER.REFERENCE_WORLD_SIZE for how
many processes it was written; images per process stay, the batch and the learning rate grow with the processes, and
iterations, warm-up and periods shrink, so that as many images are seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer

from segvit.config.defaults import get_segvit_cfg
from segvit.config.loading import Layer, config_layers, pairs_of
from segvit.errors import UserError

BATCH, LR = "SOLVER.IMS_PER_BATCH", "SOLVER.BASE_LR"


def scale_to_processes(cfg: CfgNode, processes: int) -> CfgNode:
    """The config for this many processes; the same one where SOLVER.REFERENCE_WORLD_SIZE is 0 or says so already.

    Raises:
        UserError: where the batch is empty or cannot be shared out evenly.
    """
    batch, reference = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_WORLD_SIZE
    if batch < 1:
        raise UserError(f"{BATCH} {batch} must be at least 1")
    if reference and batch % reference:
        raise UserError(
            f"{BATCH} {batch} is the batch of SOLVER.REFERENCE_WORLD_SIZE {reference} processes and must be a multiple "
            f"of {reference}; for {batch} images in all, whatever the number of processes, set "
            "SOLVER.REFERENCE_WORLD_SIZE 0"
        )
    if not reference and batch % processes:
        raise UserError(f"{BATCH} {batch} must be a multiple of the number of processes, {processes}")
    cfg = DefaultTrainer.auto_scale_workers(cfg, processes)
    parts_of_batch(cfg, processes)
    return cfg


def parts_of_batch(cfg: CfgNode, processes: int) -> int:
    """Into how many parts, one after the other, a process divides its share of the batch.

    Raises:
        UserError: where it cannot do so evenly.
    """
    parts, share = cfg.SOLVER.ACCUM_STEPS, cfg.SOLVER.IMS_PER_BATCH // processes
    if parts < 1 or share % parts:
        raise UserError(
            f"SOLVER.ACCUM_STEPS {parts} must divide the {share} images that each process has of a batch "
            f"({BATCH} {cfg.SOLVER.IMS_PER_BATCH} on {processes} processes)"
        )
    return parts


def unscaled_batch(path: str | Path, opts: Sequence[object], cfg: CfgNode) -> str:
    """What is wrong, and the remedy, where the batch was changed behind the learning rate; "" where it was not.

    Args:
        path, opts: what `load_config` made the config from. The last among its files and overrides to set
            SOLVER.BASE_LR is the recipe: it chose the rate for the batch of that moment.
        cfg: the config.
    """
    batch, recipe = get_segvit_cfg().SOLVER.IMS_PER_BATCH, 0
    for layer in [*(layer for _, layer in config_layers(path)), pairs_of(opts)]:
        batch = int(layer.get(BATCH, batch))
        recipe = batch if LR in layer else recipe
    if not recipe or batch == recipe:
        return ""
    remedy = " ".join(f"{key} {value}" for key, value in _rescaled(cfg, batch / recipe).items())
    return (
        f"{BATCH} is {batch}, but {LR} {cfg.SOLVER.BASE_LR:g} was chosen for {recipe}. To keep the recipe in "
        f"proportion, add: {remedy}"
    )


def _rescaled(cfg: CfgNode, scale: float) -> Layer:
    """Overrides that fit the rest of a recipe to `scale` times its batch, on any number of processes."""
    free = {"SOLVER.REFERENCE_WORLD_SIZE": 0} if cfg.SOLVER.REFERENCE_WORLD_SIZE else {}
    return free | {
        LR: f"{cfg.SOLVER.BASE_LR * scale:g}",
        "SOLVER.MAX_ITER": round(cfg.SOLVER.MAX_ITER / scale),
        "SOLVER.WARMUP_ITERS": round(cfg.SOLVER.WARMUP_ITERS / scale),
    }
