"""The steps of continual segmentation, one after the other: train, calibrate, save, evaluate (SegViTv2)."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.config.continual_step import KEY, ContinualStep, continual_step
from segvit.continual.calibration import calibrate_newest_group
from segvit.engine.trainer import Trainer
from segvit.errors import UserError
from segvit.experiments.cached_run import lock_config, merge, train
from segvit.output_files import atomic_write_text

logger = logging.getLogger(__name__)

# "continual": a decoder per group, all older ones frozen. The baselines: "finetune" trains one whole model on each
# step's labels alone; "joint" trains it on all labels at once.
METHODS = ("continual", "finetune", "joint")


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a model is after one step.

    Attributes:
        method: see `METHODS`.
        step: its index.
        groups: the names of the classes of each group learnt so far.
        metrics: of the evaluation, in per cent, see `ContinualEvaluator`; None for no pixel to count.
        confusion: (G, G), of the pixels of each group (row) the per cent that each group's classes won.
        checkpoint: the model's file.
    """

    method: str
    step: int
    groups: list[list[str]]
    metrics: dict[str, float | None]
    confusion: list[list[float]]
    checkpoint: str


def protocol_step(cfg: CfgNode) -> ContinualStep:
    """The config's last step. Raises UserError without a protocol, or where the run could not be evaluated."""
    last = continual_step(merge(cfg, {f"{KEY}.STEP": -1}))
    if last is None:
        raise UserError(f"this config learns all classes at once: set {KEY}.PROTOCOL, such as '100-50'")
    if not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty: a step is reported by its evaluation")
    return last


def step_configs(cfg: CfgNode, method: str, folder: Path) -> list[CfgNode]:
    """The config of each step, whose groups are ids and whose weights are the step before.

    Args:
        cfg: of the whole protocol; its MODEL.WEIGHTS are those that the first step starts from.
        method: see `METHODS`.
        folder: of this method: step_<i>.pth will be the model after step i, step_<i>/ the run's folder.
    """
    last = protocol_step(cfg)
    common = {
        f"{KEY}.PROTOCOL": "",
        f"{KEY}.GROUPS": [list(group) for group in last.groups],
        f"{KEY}.CLASS_ORDER": [],
        f"{KEY}.CLASSES": list(last.class_names),
        "MODEL.SEM_SEG_HEAD.NAME": "ContinualHead" if method == "continual" else "AttentionToMaskHead",
        "SEED": max(cfg.SEED, 0),
    }
    cfg = merge(cfg, common)
    if method == "joint":
        total = sum(last.iterations) or cfg.SOLVER.MAX_ITER
        return [merge(cfg, {f"{KEY}.STEP": last.index, "SOLVER.MAX_ITER": total, **_places(folder, last.index)})]
    first, configs = finished_step(last.iterations, cfg.MODEL.WEIGHTS), []
    for index in range(first, len(last.groups)):
        changed = {f"{KEY}.STEP": index, **_places(folder, index)}
        if last.iterations:
            changed["SOLVER.MAX_ITER"] = last.iterations[index]
        if index > first:
            changed |= {"MODEL.WEIGHTS": str(step_checkpoint(folder, index - 1)), "MODEL.VIT.PRETRAINED": ""}
        configs.append(merge(cfg, changed))
    return configs


def finished_step(iterations: Sequence[int], weights: str) -> int:
    """The step to begin with: the last of those that ITERATIONS 0 declares finished, or the first.

    Raises:
        UserError: where a finished step follows one that is to be trained, or its weights are not named.
    """
    finished = next((index for index, count in enumerate(iterations) if count), len(iterations))
    if finished and not weights:
        raise UserError(f"{KEY}.ITERATIONS begins with 0: name the finished model by MODEL.WEIGHTS")
    if not all(iterations[finished:]):
        raise UserError(f"{KEY}.ITERATIONS {list(iterations)}: only the first steps can be finished, that is 0")
    return max(finished - 1, 0)


def step_checkpoint(folder: Path, index: int) -> Path:
    """The file of the model after a step."""
    return folder / f"step_{index}.pth"


def _places(folder: Path, index: int) -> dict[str, object]:
    return {"OUTPUT_DIR": str(folder / f"step_{index}")}


def run_or_load_step(cfg: CfgNode, method: str, hooks: Callable[[], list[HookBase]] = list) -> StepResult:
    """Train a step, or go on where it stopped, or read what an earlier call with the same config found.

    Raises:
        UserError: where the folder holds a run of another config.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if comm.is_main_process():
        lock_config(cfg, folder)
    comm.synchronize()
    result_file = folder / "result.json"
    if result_file.is_file():
        return StepResult(**json.loads(result_file.read_text(encoding="utf-8")))
    step = continual_step(cfg)
    checkpoint = step_checkpoint(folder.parent, step.index)
    if not checkpoint.is_file():
        train_step(cfg, step, method, checkpoint, hooks)
    model = load_step(cfg, checkpoint)
    metrics = Trainer.test(cfg, model)
    result = None
    if comm.is_main_process():
        result = _step_result(cfg, step, method, metrics, checkpoint)
        atomic_write_text(result_file, json.dumps(asdict(result), indent=2))
    return comm.all_gather(result)[0]


def train_step(
    cfg: CfgNode, step: ContinualStep, method: str, checkpoint: Path, hooks: Callable[[], list[HookBase]]
) -> None:
    """Train, calibrate and save one step's model."""
    if cfg.SOLVER.MAX_ITER == 0:
        # A finished model's classes are the first group: there is nothing to train.
        weights = Path(cfg.MODEL.WEIGHTS)
    else:
        train(training_config(cfg, method), hooks())
        weights = Path(cfg.OUTPUT_DIR, "model_final.pth")
    comm.synchronize()
    model = load_step(cfg, weights)
    if method == "continual" and step.index and step.calibration == "bias":
        seed_all_rng(cfg.SEED + comm.get_rank())
        calibrate_newest_group(model, Trainer.build_train_loader(cfg), step.new_classes)
    SegViTCheckpointer(model, str(checkpoint.parent), save_to_disk=comm.is_main_process()).save(checkpoint.stem)
    comm.synchronize()


def training_config(cfg: CfgNode, method: str) -> CfgNode:
    """What the trainer reads: the joint model knows no groups."""
    return merge(cfg, {f"{KEY}.GROUPS": []}) if method == "joint" else cfg


def load_step(cfg: CfgNode, weights: Path) -> object:
    """The step's model with these weights, every tensor of it."""
    model = Trainer.build_model(merge(cfg, {"MODEL.VIT.PRETRAINED": ""})).eval()
    SegViTCheckpointer(model).load(str(weights))
    return model


def _step_result(
    cfg: CfgNode, step: ContinualStep, method: str, metrics: dict[str, dict[str, float]], checkpoint: Path
) -> StepResult:
    evaluation = json.loads(Path(cfg.OUTPUT_DIR, "sem_seg_evaluation.json").read_text(encoding="utf-8"))
    names, matrix = evaluation["classes"], evaluation["confusion_matrix"]
    per_class = {name: value for name, value in metrics["sem_seg"].items() if name.startswith("IoU-")}
    figures = {**metrics["continual"], **per_class}
    return StepResult(
        method=method,
        step=step.index,
        groups=[[names[entry] for entry in group] for group in step.known_groups],
        metrics={name: None if math.isnan(value) else value for name, value in figures.items()},
        confusion=_group_confusion(matrix, step),
        checkpoint=str(checkpoint),
    )


def _group_confusion(matrix: list[list[int]], step: ContinualStep) -> list[list[float]]:
    """(K, K) counts of pixels by class -> (G, G) per cent of each row."""
    groups = step.known_groups
    counts = [[sum(matrix[row][column] for row in a for column in b) for b in groups] for a in groups]
    return [[100 * count / max(sum(row), 1) for count in row] for row in counts]
