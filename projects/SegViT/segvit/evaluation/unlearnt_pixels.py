"""`UnlearntPixels`: how well the confidence of pixels tells classes that a model has learnt from those it has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.utils import comm

from segvit.config.continual_step import ContinualStep, model_ids
from segvit.data.label_reading import Relabelling
from segvit.evaluation.ground_truth import GroundTruth
from segvit.evaluation.separation import Separation
from segvit.modeling.postprocessing.confidence import confidence_of_scores
from segvit.modeling.tokens import send


class UnlearntPixels:
    """How well the confidence and the best score of pixels tell learnt classes from those of later groups.

    Args:
        dataset_name, step: as of `ContinualEvaluator`; the step is not the last.
        ignore_label: of the dataset.
        temperature: of the confidence.
    """

    def __init__(self, dataset_name: str, *, step: ContinualStep, ignore_label: int, temperature: float) -> None:
        ids = model_ids(step, dataset_name)
        self._learnt = [class_id for group in step.known_groups for class_id in group]
        kinds = np.where(np.isin(ids, self._learnt), 1, np.where(np.isin(ids, step.later_classes), 0, ignore_label))
        self._ground_truth = GroundTruth(
            dataset_name,
            num_classes=len(ids),
            ignore_label=ignore_label,
            relabelling=Relabelling(kinds, ignore_value=ignore_label),
        )
        self._temperature = temperature
        self.reset()

    def reset(self) -> None:
        """Discard the counts of all images."""
        self._separations = {"AUROC_confidence": Separation(), "AUROC_score": Separation()}

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Add a batch with scores; see `SemSegConfusionEvaluator.process`."""
        for record, output in zip(inputs, outputs):
            # Classes that are not learnt yet have no part in the confidence.
            scores = output["sem_seg"][self._learnt]
            kinds = send(self._ground_truth.read(self._ground_truth.file_of(record)), scores.device)
            confidence = confidence_of_scores(scores, self._temperature)
            self._separations["AUROC_confidence"].add(confidence, kinds)
            self._separations["AUROC_score"].add(scores.amax(dim=0), kinds)

    def evaluate(self, *, distributed: bool) -> dict[str, float]:
        """The AUROC of each in per cent; NaN without a pixel of a later class. Every process of the job calls this."""
        results = {}
        for name, separation in self._separations.items():
            counts = comm.all_gather(separation.counts.cpu()) if distributed else [separation.counts]
            total = Separation()
            total.counts = torch.stack(counts).sum(dim=0)
            results[name] = 100 * total.auroc()
        return results
