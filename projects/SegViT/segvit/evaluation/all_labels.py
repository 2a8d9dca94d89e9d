"""`AllLabels`: the IoU of new classes on all labelled pixels, also on those of classes that the model does not have.

Shape shorthand: k classes of a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.utils import comm

from segvit.config.continual_step import ContinualStep, model_ids
from segvit.data.label_reading import Relabelling
from segvit.evaluation.ground_truth import GroundTruth
from segvit.evaluation.metrics import confusion_matrix, segmentation_metrics
from segvit.modeling.postprocessing.score_bands import labels_of
from segvit.modeling.tokens import send


class AllLabels:
    """The IoU of the classes of a step, with every labelled pixel of anything else as a negative.

    `ContinualEvaluator` ignores pixels of classes that the model does not have, such as "other": a new class that is
    predicted there does not count against its IoU. Here it does. Pixels of classes of later steps are ignored, too.

    Args:
        dataset_name, step: as of `ContinualEvaluator`.
        class_names: K, by class id.
        ignore_label: of the dataset.
    """

    def __init__(
        self, dataset_name: str, *, step: ContinualStep, class_names: Sequence[str], ignore_label: int
    ) -> None:
        classes, ids = step.new_classes, model_ids(step, dataset_name)
        self._names = [class_names[class_id] for class_id in classes]
        rest = len(classes)
        # The position of each class in the step, and `rest` for all others.
        self._positions = torch.full((step.num_classes,), rest)
        self._positions[list(classes)] = torch.arange(rest)
        labels = np.where(ids >= 0, self._positions.numpy()[ids], rest)
        self._ground_truth = GroundTruth(
            dataset_name,
            num_classes=len(ids),
            ignore_label=ignore_label,
            relabelling=Relabelling(
                np.where(np.isin(ids, step.later_classes), ignore_label, labels), ignore_value=ignore_label
            ),
        )
        self._ignore_label = ignore_label
        self.reset()

    def reset(self) -> None:
        """Discard the counts of all images."""
        size = len(self._names) + 1
        self._matrix = torch.zeros(size, size, dtype=torch.int64)

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Add a batch; see `SemSegConfusionEvaluator.process`."""
        for record, output in zip(inputs, outputs):
            labels = labels_of(output)
            truth = send(self._ground_truth.read(self._ground_truth.file_of(record)), labels.device)
            predicted = send(self._positions, labels.device)[labels.long()]
            counts = confusion_matrix(predicted, truth, len(self._matrix), self._ignore_label)
            self._matrix = self._matrix.to(labels.device) + counts

    def evaluate(self, *, distributed: bool) -> dict[str, float]:
        """The IoU of each class by name, in per cent; NaN without a pixel of it. Every process calls this."""
        matrices = comm.all_gather(self._matrix.cpu()) if distributed else [self._matrix.cpu()]
        matrix = torch.stack(matrices).sum(dim=0).numpy()
        metrics = segmentation_metrics(matrix, [*map(str, range(len(matrix)))])
        return {name: metrics[f"IoU-{position}"] for position, name in enumerate(self._names)}
