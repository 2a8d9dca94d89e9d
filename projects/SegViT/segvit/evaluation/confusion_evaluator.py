"""`SemSegConfusionEvaluator`: semantic segmentation metrics from one confusion matrix.

Detectron2's `SemSegEvaluator` keeps every prediction as run-length codes and pickles them between processes; this one
keeps a K x K matrix on the device of the predictions and gives the same numbers.

Shape shorthand: K classes, H x W pixels of a label map.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor

from segvit.classes.palette import distinct_colors
from segvit.data.label_reading import Relabelling
from segvit.datasets.registration import Color
from segvit.errors import UserError
from segvit.evaluation.boundary_iou import BoundaryCounts, boundary_iou
from segvit.evaluation.ground_truth import GroundTruth
from segvit.evaluation.metrics import boundary_metrics, confusion_matrix, metrics_table, segmentation_metrics
from segvit.evaluation.prediction_writer import PredictionWriter
from segvit.modeling.postprocessing.score_bands import argmax_classes, labels_of
from segvit.modeling.tokens import send
from segvit.output_files import atomic_write_text

logger = logging.getLogger(__name__)


class SemSegConfusionEvaluator(DatasetEvaluator):
    """mIoU, fwIoU, mACC, pACC and the per-class IoU and accuracy, in constant memory.

    The metrics and their names are those of Detectron2's `SemSegEvaluator`: a class without a ground-truth pixel has
    IoU and accuracy NaN and does not enter the means, and predictions on ignored pixels count nowhere.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        distributed: bool = True,
        output_dir: str | None = None,
        with_boundary_iou: bool = False,
        save_predictions: bool = False,
        class_names: Sequence[str] = (),
        relabelling: Relabelling | None = None,
        among: Sequence[int] = (),
        warns: bool = True,
    ) -> None:
        """
        Args:
            dataset_name: a registered dataset whose metadata has `stuff_classes` and `ignore_label`.
            distributed: sum the matrices of all processes in `evaluate`, by one all-reduce.
            output_dir: where to write `sem_seg_evaluation.json`: the metrics and the confusion matrix.
            with_boundary_iou: also give "mBoundaryIoU" and "BoundaryIoU-<class>" (see `boundary_iou`).
            save_predictions: write each prediction into `output_dir`, as `predictions/labels/*.png` and
                `predictions/colors/*.png`, in the `stuff_colors` of the metadata or, without those, `distinct_colors`.
            class_names: classes of the predictions, if not the dataset's; then `relabelling` is required.
            relabelling: maps the ground truth's ids to those classes.
            among: the argmax of scores is taken over these classes only; default: over all.
            warns: log a warning if the ground truth makes the metrics meaningless.

        Raises:
            UserError: the metadata lacks one of the two or repeats a name, or `save_predictions` has no `output_dir`.
        """
        if save_predictions and not output_dir:
            raise UserError("save_predictions needs an output_dir to write into")
        meta = MetadataCatalog.get(dataset_name)
        for key in ("stuff_classes", "ignore_label"):
            if meta.get(key, None) is None:
                raise UserError(
                    f"dataset {dataset_name!r} has no {key!r} in its metadata: "
                    f"set it with MetadataCatalog.get({dataset_name!r}).set({key}=...)"
                )
        self._dataset_name = dataset_name
        self._classes: list[str] = list(class_names or meta.stuff_classes)
        repeated = sorted(name for name, count in Counter(self._classes).items() if count > 1)
        if repeated:
            raise UserError(f"dataset {dataset_name!r}: several classes are named {repeated[0]!r}: rename them")
        self._ground_truth = GroundTruth(
            dataset_name, num_classes=len(self._classes), ignore_label=meta.ignore_label, relabelling=relabelling
        )
        self._among = list(among)
        self._warns = warns
        self._ignore_label: int = meta.ignore_label
        self._distributed = distributed
        self._output_dir = output_dir
        self._with_boundary_iou = with_boundary_iou
        self._save_predictions = save_predictions
        self.reset()

    @property
    def confusion_matrix(self) -> Tensor:
        """(K, K) int64, of this process alone: pixels by ground truth (row) and prediction (column)."""
        return self._matrix

    def reset(self) -> None:
        """Discard the counts of all images."""
        num_classes = len(self._classes)
        self._matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self._boundaries = BoundaryCounts(num_classes)
        self._num_images = 0

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Add a batch to the matrix.

        Args:
            inputs: per image a dict with `sem_seg_file_name`, or with a `file_name` of the dataset.
            outputs: per image a dict with `sem_seg`, the scores (K, H, W), or `sem_seg_labels`, the class ids (H, W),
                at the size of the ground truth.

        Raises:
            UserError: sizes or numbers of classes disagree, or an id is out of range; names the file.
        """
        for record, output in zip(inputs, outputs):
            # Read the ground truth, and check the prediction against it.
            path = self._ground_truth.file_of(record)
            truth = self._ground_truth.read(path)  # (H, W)
            labels = self._checked_labels(path, output, truth.shape)  # (H, W)
            # Count its pixels.
            if self._matrix.device != labels.device:
                self._matrix = self._matrix.to(labels.device)
            truth_there = send(truth, labels.device)
            self._matrix += confusion_matrix(labels, truth_there, len(self._classes), self._ignore_label)
            if self._with_boundary_iou:
                self._boundaries.add(labels.cpu().numpy(), truth.numpy(), (truth == self._ignore_label).numpy())
            if self._save_predictions:
                self._writer.write(record["file_name"], labels.cpu().numpy())
            self._num_images += 1

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """The metrics in per cent as `{"sem_seg": {...}}`; None on all processes but the main one.

        Raises:
            UserError: on every process, if none of them processed an image.
        """
        # Sum the counts of all processes; the main one continues.
        matrix, boundaries, num_images = self._merged()
        if num_images == 0:
            raise UserError(f"nothing to evaluate: no image of dataset {self._dataset_name!r} was processed")
        if self._distributed and not comm.is_main_process():
            return None

        if self._warns:
            self._warn_of_meaningless_metrics(matrix)

        # Compute, log and write the metrics.
        metrics = segmentation_metrics(matrix, self._classes)
        if self._with_boundary_iou:
            metrics |= boundary_metrics(boundary_iou(boundaries), self._classes)
        table = metrics_table(matrix, metrics, self._classes)
        logger.info("%s, %d images\n%s", self._dataset_name, num_images, table)
        if self._output_dir:
            self._write(Path(self._output_dir), matrix, metrics)
        return OrderedDict(sem_seg=metrics)

    def _warn_of_meaningless_metrics(self, matrix: np.ndarray) -> None:
        """Log a warning if the (K, K) matrix counts pixels of no class, or of a single one."""
        if matrix.sum() == 0:
            logger.warning(
                "%s has no labelled pixel: all metrics are NaN. If the ignore value %d marks a class, convert the "
                "label maps by tools/check_dataset.py --map-ids",
                self._dataset_name,
                self._ignore_label,
            )
        elif np.count_nonzero(matrix.sum(axis=1)) == 1 and not self._among:
            (class_id,) = matrix.sum(axis=1).nonzero()[0]
            logger.warning(
                "%s has labelled pixels of class %r alone: its IoU is the mIoU, and says nothing about other classes. "
                "tools/check_dataset.py shows the classes of each split",
                self._dataset_name,
                self._classes[class_id],
            )

    @cached_property
    def _writer(self) -> PredictionWriter:
        assert self._output_dir is not None, "checked by the constructor"
        folder = Path(self._output_dir, "predictions")
        return PredictionWriter(folder, images=self._ground_truth.file_by_image, colors=self._colors())

    def _colors(self) -> list[Color]:
        """A colour per class: the dataset's for the classes that it has, found by name, as ids may differ."""
        meta = MetadataCatalog.get(self._dataset_name)
        given = dict(zip(meta.stuff_classes, meta.get("stuff_colors") or ()))
        others = iter([color for color in distinct_colors(2 * len(self._classes)) if color not in given.values()])
        return [given[name] if name in given else next(others) for name in self._classes]

    def _checked_labels(self, path: str, output: Mapping[str, Tensor], size: torch.Size) -> Tensor:
        """(H, W) ids, checked against the ground truth's size and the number of classes."""
        num_classes = len(self._classes)
        if "sem_seg_labels" in output:
            labels, expected_shape = output["sem_seg_labels"], tuple(size)
            if tuple(labels.shape) == expected_shape:
                lowest, highest = torch.stack(labels.aminmax()).tolist()
                if not 0 <= lowest <= highest < num_classes:
                    raise UserError(
                        f"{path}: the predicted ids {lowest} to {highest} are not all in 0..{num_classes - 1}"
                    )
        else:
            labels, expected_shape = output["sem_seg"], (num_classes, *size)
        if tuple(labels.shape) != expected_shape:
            raise UserError(
                f"{path}: the prediction has shape {tuple(labels.shape)}, but {num_classes} classes and the "
                f"ground truth need {expected_shape} ({'classes, ' if len(expected_shape) == 3 else ''}height, width): "
                "is the label map as large as its image?"
            )
        if not self._among or "sem_seg_labels" in output:
            return labels_of(output)
        among = torch.tensor(self._among, device=labels.device)
        return among[argmax_classes(labels[among])]

    def _merged(self) -> tuple[np.ndarray, np.ndarray, int]:
        """The matrix, the boundary counts and the number of images, summed over the processes."""
        counts = [self._matrix, torch.from_numpy(self._boundaries.counts), torch.tensor([self._num_images])]
        sums = torch.cat([count.flatten().cpu() for count in counts])
        if self._distributed and comm.get_world_size() > 1:
            # NCCL reduces GPU tensors only, and the matrix of a process without images is on the CPU.
            sums = sums.to("cuda" if dist.get_backend() == "nccl" else "cpu")
            dist.all_reduce(sums)
        parts = sums.cpu().split([count.numel() for count in counts])
        matrix, boundaries, images = (part.view_as(count).numpy() for part, count in zip(parts, counts, strict=True))
        return matrix, boundaries, int(images[0])

    def _write(self, folder: Path, matrix: np.ndarray, metrics: Mapping[str, float]) -> None:
        content = {
            "dataset": self._dataset_name,
            "metrics": {name: None if math.isnan(value) else value for name, value in metrics.items()},
            "classes": self._classes,
            "confusion_matrix": matrix.tolist(),
        }
        atomic_write_text(folder / "sem_seg_evaluation.json", json.dumps(content))
