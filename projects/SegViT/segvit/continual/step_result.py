"""`StepResult`: the evaluation of a model after one step of continual segmentation."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from segvit.config.continual_step import ContinualStep
from segvit.experiments.cached_run import read_record

# The result of a step, in its folder.
RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The evaluation of a model after one step.

    Attributes:
        method: see `METHODS` of run.py.
        step: index of the step.
        groups: class names of each group trained so far (G groups).
        metrics: of `ContinualEvaluator`, in percent; None for a metric without a pixel to count.
        confusion: (G, G), percentage of the pixels of each group (row) that are predicted as each group (column).
        checkpoint: the file of the model.
    """

    method: str
    step: int
    groups: list[list[str]]
    metrics: dict[str, float | None]
    confusion: list[list[float]]
    checkpoint: str


def read_result(file: Path) -> StepResult:
    """The result that an earlier call wrote."""
    return read_record(file, StepResult)


def step_result(
    cfg: CfgNode, step: ContinualStep, method: str, metrics: dict[str, dict[str, float]], checkpoint: Path
) -> StepResult:
    """The result of a step from its metrics and the confusion matrix in OUTPUT_DIR."""
    evaluation = json.loads(Path(cfg.OUTPUT_DIR, "sem_seg_evaluation.json").read_text(encoding="utf-8"))
    names, matrix = evaluation["classes"], evaluation["confusion_matrix"]
    per_class = {name: value for name, value in metrics["sem_seg"].items() if name.startswith("IoU-")}
    all_metrics = {**metrics["continual"], **per_class}
    return StepResult(
        method=method,
        step=step.index,
        groups=[[names[class_id] for class_id in group] for group in step.known_groups],
        metrics={name: None if math.isnan(value) else value for name, value in all_metrics.items()},
        confusion=_group_confusion(matrix, step),
        checkpoint=str(checkpoint),
    )


def _group_confusion(matrix: list[list[int]], step: ContinualStep) -> list[list[float]]:
    """Sum (K, K) pixel counts over groups -> (G, G), each row in percent."""
    groups = step.known_groups
    counts = [
        [sum(matrix[row][column] for row in true_group for column in predicted_group) for predicted_group in groups]
        for true_group in groups
    ]
    return [[100 * count / max(sum(row), 1) for count in row] for row in counts]
