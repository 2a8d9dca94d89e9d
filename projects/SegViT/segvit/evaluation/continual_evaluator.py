"""`ContinualEvaluator`: mIoU of a continually trained model, per group of classes.

Shape shorthand: K classes of the whole model, H x W pixels of a label map.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from segvit.config.continual_step import ContinualStep, model_ids
from segvit.data.label_reading import Relabelling
from segvit.evaluation.all_labels import AllLabels
from segvit.evaluation.confusion_evaluator import SemSegConfusionEvaluator
from segvit.evaluation.unlearnt_pixels import UnlearntPixels


class ContinualEvaluator(DatasetEvaluator):
    """mIoU of all classes learnt so far, of the first group (base), of the later ones (new), and of each group.

    Pixels of classes not learnt yet are ignored, and so are those of classes that the model does not have, for which
    "all_labels" has the IoU of the newest group once more (see `AllLabels`). A group's "alone" metric takes the argmax
    over its classes only, on their own pixels: it shows forgetting without the confusion with other groups. The AUROC
    says how well the confidence, and the best score, of a pixel tell learnt classes from those of later groups. Both
    need scores, and are left out for models that output labels.

    Args:
        dataset_name: a registered dataset with ground truth; classes are matched as in training.
        step: what is learnt.
        output_dir: where to write `sem_seg_evaluation.json`, and a folder per group.
        distributed: sum the counts of all processes in `evaluate`.
        with_boundary_iou: add the boundary IoU of all classes learnt so far.
        save_predictions: write the predictions over all classes learnt so far.
        warns: log a warning if the ground truth makes the metrics meaningless.
        confidence_temperature: of the confidence, see `confidence_of_scores`.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        step: ContinualStep,
        output_dir: str,
        distributed: bool = True,
        with_boundary_iou: bool = False,
        save_predictions: bool = False,
        warns: bool = True,
        confidence_temperature: float = 1.0,
    ) -> None:
        self._groups = step.known_groups
        self._names = list(step.class_names or MetadataCatalog.get(dataset_name).stuff_classes)
        ids = model_ids(step, dataset_name)
        ignore_label = MetadataCatalog.get(dataset_name).ignore_label

        def evaluator_of(classes: Sequence[int], folder: str, *, is_main: bool) -> SemSegConfusionEvaluator:
            labels = np.where(np.isin(ids, classes), ids, ignore_label)
            return SemSegConfusionEvaluator(
                dataset_name,
                output_dir=str(Path(output_dir, folder)),
                class_names=self._names,
                relabelling=Relabelling(labels, ignore_value=ignore_label),
                among=classes,
                distributed=distributed,
                with_boundary_iou=is_main and with_boundary_iou,
                save_predictions=is_main and save_predictions,
                warns=is_main and warns,
            )

        self._all = evaluator_of(sum(self._groups, ()), "", is_main=True)
        # A class alone would always be right.
        self._alone = {
            index: evaluator_of(group, f"group{index}_alone", is_main=False)
            for index, group in enumerate(self._groups)
            if len(group) > 1
        }
        self._unlearnt = None
        if step.later_classes:
            self._unlearnt = UnlearntPixels(
                dataset_name, step=step, ignore_label=ignore_label, temperature=confidence_temperature
            )
        self._all_labels = None
        if step.index and (ids < 0).any():
            self._all_labels = AllLabels(dataset_name, step=step, class_names=self._names, ignore_label=ignore_label)
        self._distributed = distributed
        self._gets_scores = False

    def reset(self) -> None:
        """Discard the counts of all images."""
        for evaluator in (self._all, *self._alone.values()):
            evaluator.reset()
        for evaluator_of_pixels in (self._unlearnt, self._all_labels):
            if evaluator_of_pixels is not None:
                evaluator_of_pixels.reset()

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Add a batch; see `SemSegConfusionEvaluator.process`."""
        self._all.process(inputs, outputs)
        self._gets_scores = all("sem_seg" in output for output in outputs)
        for evaluator in self._alone.values() if self._gets_scores else []:
            evaluator.process(inputs, outputs)
        if self._gets_scores and self._unlearnt is not None:
            self._unlearnt.process(inputs, outputs)
        if self._all_labels is not None:
            self._all_labels.process(inputs, outputs)

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """In per cent: "sem_seg", the metrics over all classes learnt so far, and "continual".

        The latter has "mIoU_base", "mIoU_new" (NaN in the first step), "mIoU_all", "mIoU_group<i>",
        "mIoU_group<i>_alone", before the last step "AUROC_confidence" and "AUROC_score", and, if the ground truth has
        classes that the model does not have, "mIoU_group<i>_all_labels" of the newest group and
        "IoU_all_labels-<class>" of its classes. None on all processes but the main one.
        """
        results = self._all.evaluate()
        # A process may have seen no image, and still has to take part.
        gets_scores = any(comm.all_gather(self._gets_scores) if self._distributed else [self._gets_scores])
        alone: dict[int, Any] = {}
        if gets_scores:
            alone = {index: evaluator.evaluate() or {} for index, evaluator in self._alone.items()}
        separations = {}
        if gets_scores and self._unlearnt is not None:
            separations = self._unlearnt.evaluate(distributed=self._distributed)
        all_labels = {} if self._all_labels is None else self._all_labels.evaluate(distributed=self._distributed)
        if results is None:
            return None
        metrics = results["sem_seg"]
        first, *later = self._groups
        continual = {
            "mIoU_base": self._mean_iou(metrics, first),
            "mIoU_new": self._mean_iou(metrics, sum(later, ())),
            "mIoU_all": metrics["mIoU"],
        }
        continual |= {f"mIoU_group{index}": self._mean_iou(metrics, group) for index, group in enumerate(self._groups)}
        continual |= {f"mIoU_group{index}_alone": result["sem_seg"]["mIoU"] for index, result in alone.items()}
        continual |= separations
        if all_labels:
            values = [value for value in all_labels.values() if not math.isnan(value)]
            continual[f"mIoU_group{len(later)}_all_labels"] = sum(values) / len(values) if values else math.nan
            continual |= {f"IoU_all_labels-{name}": value for name, value in all_labels.items()}
        return OrderedDict(sem_seg=metrics, continual=continual)

    def _mean_iou(self, metrics: Mapping[str, float], classes: Sequence[int]) -> float:
        values = [value for class_id in classes if not math.isnan(value := metrics[f"IoU-{self._names[class_id]}"])]
        return sum(values) / len(values) if values else math.nan
