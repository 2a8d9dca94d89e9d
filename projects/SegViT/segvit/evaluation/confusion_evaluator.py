"""Semantic segmentation metrics from one confusion matrix.

Detectron2's `SemSegEvaluator` keeps every prediction as run-length codes and pickles them between processes; this one
keeps a K x K matrix on the device of the predictions and gives the same numbers.

Shape shorthand in this module: K: classes; H, W: the size of one image's label map.
"""

from __future__ import annotations

import json
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from PIL import Image
from tabulate import tabulate
from torch import Tensor

from segvit.modeling.winning_classes import winning_classes

logger = logging.getLogger(__name__)


class SemSegConfusionEvaluator(DatasetEvaluator):
    """mIoU, fwIoU, mACC, pACC and the per-class IoU and accuracy, in constant memory.

    The metrics and their names are those of Detectron2's `SemSegEvaluator`: a class without a ground-truth pixel has
    IoU and accuracy NaN and does not enter the means, and predictions on ignored pixels count nowhere.
    """

    def __init__(self, dataset_name: str, *, distributed: bool = True, output_dir: str | None = None) -> None:
        """
        Args:
            dataset_name: a registered data set whose metadata has `stuff_classes` and `ignore_label`.
            distributed: add up the matrices of all processes in `evaluate`.
            output_dir: where to write `sem_seg_evaluation.json`: the metrics and the confusion matrix.

        Raises:
            ValueError: where the metadata lacks one of the two.
        """
        meta = MetadataCatalog.get(dataset_name)
        for key in ("stuff_classes", "ignore_label"):
            if meta.get(key, None) is None:
                raise ValueError(
                    f"data set {dataset_name!r} has no {key!r} in its metadata: "
                    f"set it with MetadataCatalog.get({dataset_name!r}).set({key}=...)"
                )
        self._dataset_name = dataset_name
        self._classes: list[str] = list(meta.stuff_classes)
        self._ignore_label: int = meta.ignore_label
        self._distributed = distributed
        self._output_dir = output_dir
        self.reset()

    @property
    def confusion_matrix(self) -> Tensor:
        """(K, K) int64, of this process alone: pixels by ground truth (row) and prediction (column)."""
        return self._matrix

    def reset(self) -> None:
        """Forget every image seen."""
        num_classes = len(self._classes)
        self._matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self._num_images = 0

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Add a batch to the matrix.

        Args:
            inputs: per image a dict with `sem_seg_file_name`, or with a `file_name` that the data set knows.
            outputs: per image a dict with `sem_seg`, the scores (K, H, W), at the size of the ground truth.

        Raises:
            ValueError: naming the file, where the sizes or the number of classes disagree or an id is out of range.
        """
        for record, output in zip(inputs, outputs):
            path = self._ground_truth_file(record)
            scores: Tensor = output["sem_seg"]  # (K, H, W)
            truth = self._load_ground_truth(path)  # (H, W)
            self._check_sizes(path, scores, truth)
            if self._matrix.device != scores.device:
                self._matrix = self._matrix.to(scores.device)
            self._matrix += confusion_matrix(
                winning_classes(scores), truth.to(scores.device), len(self._classes), self._ignore_label
            )
            self._num_images += 1

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """The metrics in per cent as `{"sem_seg": {...}}`; None on all processes but the main one.

        Raises:
            ValueError: on every process, where none of them saw an image.
        """
        matrix, num_images = self._merged()
        if num_images == 0:
            raise ValueError(f"nothing to evaluate: no image of data set {self._dataset_name!r} was processed")
        if self._distributed and not comm.is_main_process():
            return None
        if matrix.sum() == 0:
            logger.warning("%s has no labelled pixel: all metrics are NaN", self._dataset_name)
        metrics = segmentation_metrics(matrix, self._classes)
        logger.info("%s, %d images\n%s", self._dataset_name, num_images, self._table(matrix, metrics))
        if self._output_dir:
            self._write(matrix, metrics)
        return OrderedDict(sem_seg=metrics)

    @cached_property
    def _truth_by_image(self) -> dict[str, str]:
        return {record["file_name"]: record["sem_seg_file_name"] for record in DatasetCatalog.get(self._dataset_name)}

    def _ground_truth_file(self, record: Mapping[str, Any]) -> str:
        if "sem_seg_file_name" in record:
            return record["sem_seg_file_name"]
        if record["file_name"] not in self._truth_by_image:
            raise ValueError(f"{record['file_name']}: no ground truth in data set {self._dataset_name!r}")
        return self._truth_by_image[record["file_name"]]

    def _load_ground_truth(self, path: str) -> Tensor:
        with PathManager.open(path, "rb") as file, Image.open(file) as image:
            labels = np.array(image)
        if labels.ndim != 2:
            raise ValueError(f"{path}: a label map has one channel of class ids, this one has shape {labels.shape}")
        ids = np.unique(labels)
        wrong = ids[(ids >= len(self._classes)) | (ids < 0)]
        wrong = wrong[wrong != self._ignore_label]
        if wrong.size:
            raise ValueError(
                f"{path}: class ids {wrong[:10].tolist()} are neither in 0..{len(self._classes) - 1} "
                f"nor the ignore label {self._ignore_label}"
            )
        return torch.from_numpy(labels.astype(np.int64))

    def _check_sizes(self, path: str, scores: Tensor, truth: Tensor) -> None:
        if scores.shape != (len(self._classes), *truth.shape):
            raise ValueError(
                f"{path}: the prediction has shape {tuple(scores.shape)}, but {len(self._classes)} classes and the "
                f"ground truth need {(len(self._classes), *truth.shape)} (classes, height, width)"
            )

    def _merged(self) -> tuple[np.ndarray, int]:
        """The matrix and the number of images, summed over the processes."""
        own = (self._matrix.cpu().numpy(), self._num_images)
        parts = comm.all_gather(own) if self._distributed else [own]
        return sum(matrix for matrix, _ in parts), sum(count for _, count in parts)

    def _table(self, matrix: np.ndarray, metrics: Mapping[str, float]) -> str:
        share = 100 * matrix.sum(axis=1) / max(matrix.sum(), 1)
        rows = [
            (name, metrics[f"IoU-{name}"], metrics[f"ACC-{name}"], part) for name, part in zip(self._classes, share)
        ]
        rows.append(("mean", metrics["mIoU"], metrics["mACC"], share.sum()))
        summary = f"mIoU {metrics['mIoU']:.2f}  fwIoU {metrics['fwIoU']:.2f}  "
        summary += f"mACC {metrics['mACC']:.2f}  pACC {metrics['pACC']:.2f}"
        return tabulate(rows, ("class", "IoU", "Acc", "% of pixels"), "simple", floatfmt=".2f") + "\n" + summary

    def _write(self, matrix: np.ndarray, metrics: Mapping[str, float]) -> None:
        PathManager.mkdirs(self._output_dir)
        content = {
            "dataset": self._dataset_name,
            "metrics": {name: None if math.isnan(value) else value for name, value in metrics.items()},
            "classes": self._classes,
            "confusion_matrix": matrix.tolist(),
        }
        with PathManager.open(str(Path(self._output_dir) / "sem_seg_evaluation.json"), "w") as file:
            json.dump(content, file)


def confusion_matrix(labels: Tensor, truth: Tensor, num_classes: int, ignore_label: int) -> Tensor:
    """Count pixels by ground truth (row) and prediction (column), ignored ones left out.

    Args:
        labels: predicted ids, (H, W) int64 in 0..K-1.
        truth: true ids, (H, W) int64 in 0..K-1 or `ignore_label`.

    Returns:
        (K, K) int64 on the device of the labels.
    """
    keep = truth != ignore_label
    pairs = truth[keep] * num_classes + labels[keep]
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def segmentation_metrics(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Detectron2's semantic segmentation metrics, in per cent, from a (K, K) matrix with the ground truth in rows."""
    hits = matrix.diagonal().astype(float)  # (K,)
    pixels = matrix.sum(axis=1).astype(float)
    union = pixels + matrix.sum(axis=0) - hits
    present = pixels > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = 100 * np.where(present, hits / pixels, np.nan)
        iou = 100 * np.where(present, hits / union, np.nan)
    return {
        "mIoU": _mean(iou[present]),
        "fwIoU": _mean(iou[present], pixels[present]),
        **{f"IoU-{name}": float(value) for name, value in zip(classes, iou)},
        "mACC": _mean(accuracy[present]),
        "pACC": _mean(accuracy[present], pixels[present]),
        **{f"ACC-{name}": float(value) for name, value in zip(classes, accuracy)},
    }


def _mean(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    return float(np.average(values, weights=weights)) if values.size else math.nan
