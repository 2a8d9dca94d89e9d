"""`scale_to_processes`: batch size, learning rate and schedule for a number of processes; a warning of unscaled ones.

The rule is Detectron2's (`DefaultTrainer.auto_scale_workers`): SOLVER.REFERENCE_WORLD_SIZE is the number of processes
that a config was written for. The images per process stay the same; batch size and learning rate are proportional to
the number of processes, and iterations, warm-up and periods inversely, so that a run sees the same number of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer

from segvit.config.defaults import get_segvit_cfg
from segvit.config.loading import config_layers
from segvit.config.overrides import Layer, pairs_of
from segvit.config.validation import value_of
from segvit.errors import UserError

BATCH, LR, ITERATIONS = "SOLVER.IMS_PER_BATCH", "SOLVER.BASE_LR", "MODEL.SEGVIT.CONTINUAL.ITERATIONS"


def scale_to_processes(cfg: CfgNode, processes: int) -> CfgNode:
    """The config scaled to a number of processes; unchanged if SOLVER.REFERENCE_WORLD_SIZE is 0 or this number.

    Raises:
        UserError: the batch is empty, or cannot be divided evenly among the processes.
    """
    batch, reference = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_WORLD_SIZE
    if batch < 1:
        raise UserError(f"{BATCH} {batch} must be at least 1")
    if reference and batch % reference:
        raise UserError(
            f"{BATCH} {batch} must be a multiple of SOLVER.REFERENCE_WORLD_SIZE {reference}, the number of processes "
            f"that the config was written for; for {batch} images in all on any number of processes, set "
            "SOLVER.REFERENCE_WORLD_SIZE 0"
        )
    if not reference and batch % processes:
        raise UserError(f"{BATCH} {batch} must be a multiple of the number of processes, {processes}")
    scaled = DefaultTrainer.auto_scale_workers(cfg, processes)
    if scaled is not cfg:
        _correct(scaled, cfg)
    parts_of_batch(scaled, processes)
    return scaled


def _correct(scaled: CfgNode, cfg: CfgNode) -> None:
    """Correct, in place, the keys of a config that Detectron2 has scaled from `cfg`."""
    frozen = scaled.is_frozen()
    scaled.defrost()
    # The iterations of the steps of continual segmentation, which Detectron2 does not know; 0 is a finished step.
    scale = scaled.SOLVER.REFERENCE_WORLD_SIZE / cfg.SOLVER.REFERENCE_WORLD_SIZE
    scaled.merge_from_list([ITERATIONS, _per_step(cfg, scale)])
    # Periods below half an iteration became 0, which turns evaluation off and divides by zero.
    scaled.SOLVER.CHECKPOINT_PERIOD = max(scaled.SOLVER.CHECKPOINT_PERIOD, 1)
    scaled.TEST.EVAL_PERIOD = max(scaled.TEST.EVAL_PERIOD, min(cfg.TEST.EVAL_PERIOD, 1))
    # A changed key that no schedule reads would be refused when the config is read again.
    if cfg.SOLVER.LR_SCHEDULER_NAME != "WarmupMultiStepLR":
        scaled.SOLVER.STEPS = cfg.SOLVER.STEPS
    if frozen:
        scaled.freeze()


def _per_step(cfg: CfgNode, scale: float) -> list[int]:
    """The iterations of each continual step for `scale` times the batch size."""
    return [max(round(count / scale), 1) if count else 0 for count in value_of(cfg, ITERATIONS)]


def parts_of_batch(cfg: CfgNode, processes: int) -> int:
    """The number of parts into which each process splits its images of a batch, for gradient accumulation.

    Raises:
        UserError: the images cannot be split evenly.
    """
    parts = cfg.SOLVER.ACCUM_STEPS
    images = cfg.SOLVER.IMS_PER_BATCH // processes
    if parts < 1 or images % parts:
        raise UserError(
            f"SOLVER.ACCUM_STEPS {parts} must divide the {images} images per process "
            f"({BATCH} {cfg.SOLVER.IMS_PER_BATCH} on {processes} processes)"
        )
    return parts


def unscaled_batch(path: str | Path, opts: Sequence[object], cfg: CfgNode) -> str:
    """A warning, with overrides that help, if the batch size was changed after the learning rate was set; else "".

    Args:
        path, opts: the arguments of `load_config`. The learning rate belongs to the batch size at the last of these
            files and overrides that sets SOLVER.BASE_LR.
        cfg: the config.
    """
    batch = get_segvit_cfg().SOLVER.IMS_PER_BATCH
    tuned_batch = 0
    for layer in [*(layer for _, layer in config_layers(path)), pairs_of(opts)]:
        batch = int(layer.get(BATCH, batch))
        tuned_batch = batch if LR in layer else tuned_batch
    if not tuned_batch or batch == tuned_batch:
        return ""
    overrides = " ".join(f"{key} {value}" for key, value in _rescaled(cfg, batch / tuned_batch).items())
    return (
        f"{BATCH} is {batch}, but {LR} {cfg.SOLVER.BASE_LR:g} was chosen for {tuned_batch}. To scale learning rate and "
        f"schedule with it, add: {overrides}"
    )


def _rescaled(cfg: CfgNode, scale: float) -> Layer:
    """Overrides that scale learning rate and schedule to `scale` times the batch size, on any number of processes."""
    overrides: Layer = {"SOLVER.REFERENCE_WORLD_SIZE": 0} if cfg.SOLVER.REFERENCE_WORLD_SIZE else {}
    overrides |= {
        LR: f"{cfg.SOLVER.BASE_LR * scale:g}",
        "SOLVER.MAX_ITER": round(cfg.SOLVER.MAX_ITER / scale),
        "SOLVER.WARMUP_ITERS": round(cfg.SOLVER.WARMUP_ITERS / scale),
    }
    if value_of(cfg, ITERATIONS):
        overrides[ITERATIONS] = str(_per_step(cfg, scale)).replace(" ", "")
    return overrides
