"""`calibrate_newest_group`: scale the scores of new classes by the factor that best separates them from others (ours).

Groups are trained separately, so the scores of two groups are not comparable, yet the class with the highest score
wins. After a step's training, the factor of its group is chosen on the step's own training data, where pixels are
labelled with a new class or background. The scores of older groups do not change.

Shape shorthand: K classes of the model, k classes of the new group, H x W pixels.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable, Sequence

import torch
from detectron2.utils import comm

from segvit.assembly.heads.continual_head import ContinualHead
from segvit.assembly.meta_arch import SegViT
from segvit.assembly.model_types import ModelInput

logger = logging.getLogger(__name__)

# Training images that the factor is chosen on.
NUM_IMAGES = 200
# The factor's logarithm is searched from -LOG_RANGE to LOG_RANGE in steps of LOG_STEP.
LOG_RANGE = 4.0
LOG_STEP = 0.02


def calibrate_newest_group(model: SegViT, loader: Iterable[list[ModelInput]], classes: Sequence[int]) -> None:
    """Set the factor of the newest group, in place, to the one with the highest mean IoU of the group's classes.

    Args:
        model: in evaluation mode, with a `ContinualHead` of at least two groups.
        loader: batches of training images, with "sem_seg" (H, W): ids of `classes`, and others for background.
        classes: the class ids of the newest group.
    """
    head = model.sem_seg_head
    assert isinstance(head, ContinualHead)
    factor = head.added[-1].get_buffer("factor")
    factor.fill_(1.0)
    ratios = ScoreRatios(len(classes))
    num_images = math.ceil(NUM_IMAGES / comm.get_world_size())
    for inputs in itertools.islice(itertools.chain.from_iterable(loader), num_images):
        _, height, width = inputs["image"].shape
        with torch.no_grad():
            (output,) = model([{"image": inputs["image"], "height": height, "width": width}])
        labels = inputs["sem_seg"].to(output["sem_seg"].device).long()
        ratios.add(output["sem_seg"], labels, classes, model.ignore_value)
    ratios.sum_over_processes()
    best, miou_before, miou_after = ratios.best_factor()
    factor.fill_(best)
    logger.info(
        "Calibration: scores of classes %s times %.3f; mean IoU on the step's training data %.2f -> %.2f",
        list(classes),
        best,
        miou_before,
        miou_after,
    )


class ScoreRatios:
    """Histograms of log(best older score / best new score), by true class and best new class of each pixel.

    With the factor f, a pixel goes to the new group if that logarithm is below log(f), so the IoU for every factor
    follows from cumulative sums of the histograms.

    Attributes:
        counts: (k + 1, k, bins) int64, pixels by true class (the last is background), best new class, and bin.
    """

    def __init__(self, num_new: int) -> None:
        self.num_new = num_new
        self.num_bins = 2 * round(LOG_RANGE / LOG_STEP) + 1
        self.counts = torch.zeros(num_new + 1, num_new, self.num_bins, dtype=torch.int64)

    def add(self, scores: torch.Tensor, labels: torch.Tensor, classes: Sequence[int], ignore_value: int) -> None:
        """Count the pixels of one image.

        Args:
            scores: (K, H, W).
            labels: (H, W) class ids.
            classes: the k ids of the new group.
            ignore_value: the label of pixels that are not counted.
        """
        new = torch.tensor(classes, device=scores.device)
        is_old = torch.ones(len(scores), dtype=torch.bool, device=scores.device).index_fill(0, new, False)

        # The bin of each pixel: log(best older score / best new score), clipped to the range.
        best_new, predicted = scores[new].max(dim=0)
        log_ratio = (scores[is_old].amax(dim=0).log() - best_new.log()).nan_to_num(0.0).clamp(-LOG_RANGE, LOG_RANGE)
        bins = ((log_ratio + LOG_RANGE) / LOG_STEP).round().long()

        # Labels as positions in the group; everything else is background.
        truth = torch.full_like(labels, self.num_new)
        for position, class_id in enumerate(classes):
            truth[labels == class_id] = position

        # One bincount over the flattened index (truth, predicted, bin).
        index = (truth * self.num_new + predicted) * self.num_bins + bins
        index = index[labels != ignore_value]
        self.counts += torch.bincount(index, minlength=self.counts.numel()).view_as(self.counts).cpu()

    def sum_over_processes(self) -> None:
        """Add up the counts of all processes."""
        self.counts = torch.stack(comm.all_gather(self.counts)).sum(dim=0)

    def best_factor(self) -> tuple[float, float, float]:
        """The factor with the highest mean IoU, and the mean IoU in percent with factor 1 and with this one.

        Of several factors it is the one nearest to 1, which is the factor without a pixel of the new classes, too.
        """
        # A factor wins the pixels of all bins up to its own.
        won = self.counts.cumsum(dim=2)  # (k + 1, k, bins)
        intersection = torch.stack([won[index, index] for index in range(self.num_new)])  # (k, bins)
        predicted = won.sum(dim=0)  # (k, bins)
        labelled = self.counts[:-1].sum(dim=(1, 2))  # (k,)
        union = labelled[:, None] + predicted - intersection

        # The mean IoU over classes with labelled pixels, for every factor.
        present = labelled > 0
        mean_iou = (intersection[present] / union[present].clamp(min=1)).mean(dim=0).nan_to_num(0.0)  # (bins,)
        neutral = self.num_bins // 2
        highest = (mean_iou == mean_iou.max()).nonzero().flatten()
        best = int(highest[(highest - neutral).abs().argmin()])
        factor = math.exp((best - neutral) * LOG_STEP)
        return factor, 100 * float(mean_iou[neutral]), 100 * float(mean_iou[best])
