"""Weigh the scores of a new group of classes against those of the older ones: ours.

Groups are trained apart, and the class with the highest score wins: nothing makes the scores of two groups comparable.
One factor per new group does, chosen on the new step's own training data (its classes, and background), after its
training. The older groups' scores, and what they are among themselves, stay as they are.

Shape shorthand in this module: K: classes of the model; k: classes of the new group; H, W: pixels.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable, Sequence

import torch
from detectron2.utils import comm
from torch import nn

logger = logging.getLogger(__name__)

# Images that the factor is chosen on, and the range and step of its logarithm.
NUM_IMAGES = 200
LOG_RANGE = 4.0
LOG_STEP = 0.02


def calibrate_newest_group(model: nn.Module, loader: Iterable[list[dict[str, object]]], classes: Sequence[int]) -> None:
    """Set the factor of the model's newest group, in place: the one with the highest mean IoU of its classes.

    Args:
        model: a `SegViT` with a `ContinualHead` of at least two groups, in evaluation mode.
        loader: batches of the step's training images, with "sem_seg" (H, W): the ids of `classes`, others background.
        classes: the ids of the newest group.
    """
    group = model.sem_seg_head.added[-1]
    group.factor.fill_(1.0)
    ratios = ScoreRatios(len(classes))
    share = math.ceil(NUM_IMAGES / comm.get_world_size())
    for inputs in itertools.islice(itertools.chain.from_iterable(loader), share):
        _, height, width = inputs["image"].shape
        with torch.no_grad():
            (output,) = model([{"image": inputs["image"], "height": height, "width": width}])
        ratios.add(output["sem_seg"], inputs["sem_seg"].to(output["sem_seg"].device), classes, model.ignore_value)
    ratios.merge_processes()
    factor, before, after = ratios.best_factor()
    group.factor.fill_(factor)
    logger.info(
        "Calibration: the scores of the classes %s times %.3f; their mean IoU on the step's training data was %.2f, "
        "is %.2f",
        list(classes),
        factor,
        before,
        after,
    )


class ScoreRatios:
    """Histograms, over log(best older score / best new score), of what each pixel is and what the new group says.

    With the factor f a pixel goes to the new group where that logarithm is below log(f): the IoU for every factor
    follows from cumulative sums.
    """

    def __init__(self, num_new: int) -> None:
        self.num_new = num_new
        self.num_bins = 2 * round(LOG_RANGE / LOG_STEP) + 1
        # Of the pixels of truth t (the last: background) that the new group takes for p, by bin: (k + 1, k, bins).
        self.counts = torch.zeros(num_new + 1, num_new, self.num_bins, dtype=torch.int64)

    def add(self, scores: torch.Tensor, labels: torch.Tensor, classes: Sequence[int], ignore_value: int) -> None:
        """Count an image: scores (K, H, W) and labels (H, W)."""
        new = torch.tensor(classes, device=scores.device)
        is_old = torch.ones(len(scores), dtype=torch.bool, device=scores.device).index_fill(0, new, False)
        best_new, says = scores[new].max(dim=0)
        ratio = (scores[is_old].amax(dim=0).log() - best_new.log()).nan_to_num(0.0).clamp(-LOG_RANGE, LOG_RANGE)
        bins = ((ratio + LOG_RANGE) / LOG_STEP).round().long()
        truth = torch.full_like(labels, self.num_new)
        for position, entry in enumerate(classes):
            truth[labels == entry] = position
        index = (truth * self.num_new + says) * self.num_bins + bins
        index = index[labels != ignore_value]
        self.counts += torch.bincount(index, minlength=self.counts.numel()).view_as(self.counts).cpu()

    def merge_processes(self) -> None:
        """Add up the counts of all processes."""
        self.counts = sum(comm.all_gather(self.counts))

    def best_factor(self) -> tuple[float, float, float]:
        """The factor, and the mean IoU of the group's classes in per cent without it and with it."""
        taken = self.counts.cumsum(dim=2)  # of those pixels, how many the new group wins, by the factor's bin
        hits = torch.stack([taken[index, index] for index in range(self.num_new)])  # (k, bins)
        said = taken.sum(dim=0)  # (k, bins)
        there = self.counts[:-1].sum(dim=(1, 2))  # (k,)
        union = there[:, None] + said - hits
        present = there > 0
        mean_iou = (hits[present] / union[present].clamp(min=1)).mean(dim=0)  # (bins,)
        best = int(mean_iou.argmax())
        neutral = self.num_bins // 2
        factor = math.exp((best - neutral) * LOG_STEP)
        return factor, 100 * float(mean_iou[neutral]), 100 * float(mean_iou[best])
