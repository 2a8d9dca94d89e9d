"""Run the steps of continual segmentation (SegViTv2): train, calibrate, save and evaluate each step's model."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from segvit.assembly.encoder_weights import without_pretrained
from segvit.assembly.meta_arch import SegViT
from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.checkpoint.run_record import RunRecord
from segvit.config.continual_step import KEY, ContinualStep, continual_step
from segvit.config.overrides import Layer
from segvit.continual.calibration import calibrate_newest_group
from segvit.continual.learnt_classes import step_of
from segvit.continual.step_result import RESULT, StepResult, read_result, step_result
from segvit.engine.trainer import Trainer
from segvit.errors import UserError
from segvit.experiments.cached_run import lock_config, merge, train
from segvit.model_folder.files import MODEL_FOLDER, is_model_folder, read_model_folder
from segvit.model_folder.packing import pack_checkpoint
from segvit.output_files import atomic_write_text

logger = logging.getLogger(__name__)

# "continual" adds a decoder per group and freezes everything older. The baselines: "finetune" trains one whole model on
# each step's labels, and "joint" trains it on all labels at once.
METHODS = ("continual", "finetune", "joint")

# Keys of paths, which may be spelt differently when a command is repeated. `lock_weights` compares what they hold.
PATHS = ("OUTPUT_DIR", "WEIGHTS")


def protocol_step(cfg: CfgNode) -> ContinualStep:
    """The last step of the config's protocol. Raises UserError without a protocol or without exactly one test set."""
    last = continual_step(merge(cfg, {f"{KEY}.STEP": -1}))
    if last is None:
        raise UserError(f"this config learns all classes at once: set {KEY}.PROTOCOL, such as '100-50'")
    if len(cfg.DATASETS.TEST) != 1:
        raise UserError(f"DATASETS.TEST {list(cfg.DATASETS.TEST)}: every step is evaluated on one dataset: name one")
    return last


def step_configs(cfg: CfgNode, method: str, folder: Path) -> list[CfgNode]:
    """The config of each step, with groups of class ids, starting from the weights of the step before.

    Args:
        cfg: the config of the whole protocol; the first step starts from its MODEL.WEIGHTS.
        method: see `METHODS`.
        folder: the method's folder, for step_<i>.pth, the model after step i, and step_<i>/, the folder of its run.

    Raises:
        UserError: see `protocol_step` and `first_step`.
    """
    last = protocol_step(cfg)
    common: Layer = {
        f"{KEY}.PROTOCOL": "",
        f"{KEY}.GROUPS": [list(group) for group in last.groups],
        f"{KEY}.CLASS_ORDER": [],
        f"{KEY}.CLASSES": list(last.class_names),
        "MODEL.SEM_SEG_HEAD.NAME": "ContinualHead" if method == "continual" else "AttentionToMaskHead",
        "SEED": max(cfg.SEED, 0),
    }
    cfg = merge(cfg, common)
    if method == "joint":
        total = sum(last.iterations) or len(last.groups) * cfg.SOLVER.MAX_ITER
        output_dir = str(folder / f"step_{last.index}")
        return [merge(cfg, {f"{KEY}.STEP": last.index, "SOLVER.MAX_ITER": total, "OUTPUT_DIR": output_dir})]
    first = first_step(last.iterations, cfg.MODEL.WEIGHTS)
    configs = []
    for index in range(first, len(last.groups)):
        changed: Layer = {f"{KEY}.STEP": index, "OUTPUT_DIR": str(folder / f"step_{index}")}
        if last.iterations:
            changed["SOLVER.MAX_ITER"] = last.iterations[index]
        if index > first:
            changed |= {"MODEL.WEIGHTS": str(step_checkpoint(folder, index - 1)), "MODEL.VIT.PRETRAINED": ""}
        configs.append(merge(cfg, changed))
    return configs


def first_step(iterations: Sequence[int], weights: str) -> int:
    """The step to start with: the last one that is finished (0 iterations), or step 0.

    Raises:
        UserError: if a finished step follows one that must be trained, or the finished model is not named.
    """
    finished = next((index for index, count in enumerate(iterations) if count), len(iterations))
    if finished and not weights:
        raise UserError(f"{KEY}.ITERATIONS begins with 0: name the finished model by MODEL.WEIGHTS")
    if not all(iterations[finished:]):
        raise UserError(f"{KEY}.ITERATIONS {list(iterations)}: only the first steps can be finished (0)")
    return max(finished - 1, 0)


def step_checkpoint(folder: Path, index: int) -> Path:
    """The file of the model after a step."""
    return folder / f"step_{index}.pth"


def run_or_load_step(cfg: CfgNode, method: str, hooks: Callable[[], list[HookBase]] = list) -> StepResult:
    """Train a step, continue an interrupted one, or load the result of an earlier call with the same config.

    Raises:
        UserError: if OUTPUT_DIR belongs to a run with another config.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if comm.is_main_process():
        lock_config(cfg, folder, ignored=PATHS)
    comm.synchronize()
    result_file = folder / RESULT
    if result_file.is_file():
        return read_result(result_file)
    step = step_of(cfg)
    checkpoint = step_checkpoint(folder.parent, step.index)
    if not checkpoint.is_file():
        train_step(cfg, step, method, checkpoint, hooks)
    model = load_step(cfg, checkpoint)
    # A finished model may be evaluated on a dataset that labels none of its classes.
    trained = cfg.SOLVER.MAX_ITER > 0
    evaluators = [Trainer.build_evaluator(cfg, name, warns=trained) for name in cfg.DATASETS.TEST]
    metrics = Trainer.test(cfg, model, evaluators)
    result = None
    if comm.is_main_process():
        known = {name: value for group in metrics.values() for name, value in group.items() if not math.isnan(value)}
        packed = cfg if trained else without_recipe(cfg)
        pack_checkpoint(checkpoint, folder / MODEL_FOLDER, cfg=packed, metrics=known)
        result = step_result(cfg, step, method, metrics, checkpoint)
        atomic_write_text(result_file, json.dumps(asdict(result), indent=2))
    return comm.all_gather(result)[0]


def finished_results(cfg: CfgNode, method: str, folder: Path) -> list[StepResult]:
    """The results of all steps of a method, of an earlier call; empty if one is missing."""
    files = [Path(step_cfg.OUTPUT_DIR, RESULT) for step_cfg in step_configs(cfg, method, folder)]
    if not all(file.is_file() for file in files):
        return []
    return [read_result(file) for file in files]


def without_recipe(cfg: CfgNode) -> CfgNode:
    """The config of a finished model, which this run does not train, without a schedule."""
    cfg = cfg.clone()
    cfg.defrost()
    del cfg["SOLVER"]
    return cfg


def write_last_model(cfg: CfgNode, folder: Path) -> Path:
    """Write the model of a finished step, of `step_configs`, into `folder`/model, unless it is there."""
    target = folder / MODEL_FOLDER
    if not is_model_folder(target):
        step = step_of(cfg)
        checkpoint = step_checkpoint(Path(cfg.OUTPUT_DIR).parent, step.index)
        metrics = read_model_folder(Path(cfg.OUTPUT_DIR, MODEL_FOLDER)).metrics
        pack_checkpoint(checkpoint, target, cfg=cfg, metrics=metrics, command=sys.argv)
    return target


def train_step(
    cfg: CfgNode, step: ContinualStep, method: str, checkpoint: Path, hooks: Callable[[], list[HookBase]]
) -> None:
    """Train, calibrate and save one step's model."""
    trained = cfg.SOLVER.MAX_ITER > 0
    if trained:
        train(training_config(cfg, method), hooks())
        weights = Path(cfg.OUTPUT_DIR, "model_final.pth")
    else:
        # The classes of a finished model are the first group, which needs no training.
        weights = Path(cfg.MODEL.WEIGHTS)
    comm.synchronize()
    # A finished model may list its classes in another order than the protocol, whose groups say which they are.
    # Calibration needs scores, whatever the evaluation asks for.
    model = load_step(merge(cfg, {"TEST.LABELS_ONLY": False}), weights, compares_ids=trained)
    if method == "continual" and step.index and step.calibration == "bias" and trained:
        seed_all_rng(cfg.SEED + comm.get_rank())
        calibrate_newest_group(model, Trainer.build_train_loader(cfg), step.new_classes)
    SegViTCheckpointer(model, str(checkpoint.parent), run=RunRecord.of(cfg), save_to_disk=comm.is_main_process()).save(
        checkpoint.stem
    )
    comm.synchronize()


def training_config(cfg: CfgNode, method: str) -> CfgNode:
    """The trainer's config: joint training has no groups, or one, if labels are matched by name."""
    if method != "joint":
        return cfg
    step = continual_step(cfg)
    named = step is not None and step.class_names
    together = [[class_id for group in step.groups for class_id in group]] if step is not None and named else []
    return merge(cfg, {f"{KEY}.GROUPS": together, f"{KEY}.STEP": -1, f"{KEY}.ITERATIONS": []})


def load_step(cfg: CfgNode, weights: Path, *, compares_ids: bool = True) -> SegViT:
    """Build the step's model in evaluation mode and load its weights.

    Raises:
        UserError: a tensor is missing, or the file is of a run with other class names or groups.
    """
    model = Trainer.build_model(without_pretrained(cfg)).eval()
    SegViTCheckpointer(model, run=replace(RunRecord.of(cfg), compares_ids=compares_ids)).load(str(weights))
    return model
