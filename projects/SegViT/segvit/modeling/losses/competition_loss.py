"""`CompetitionLoss`: a new group of classes learns to win its own pixels against the frozen older groups (ours).

The losses of the ATM decoder train each mask by itself, but in inference the highest score among the classes of all
groups wins. This loss compares the scores of separately trained groups, on the labels of the new step alone.

Shape shorthand: B images, H x W pixels, K classes of the whole model, k classes of the new group.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.decoder.outputs import DecoderOutputs, MergedOutputs
from segvit.modeling.losses.targets import (
    IGNORED,
    LossCounts,
    LossNormalizers,
    MaskTargets,
    mean_over_processes,
    subsample_labels,
)
from segvit.modeling.postprocessing.semantic_inference import class_probabilities, class_scores

# Lower scores are clamped, because their logarithms are unbounded.
FLOOR = 1e-6


class CompetitionLoss(nn.Module):
    """Cross-entropy of each pixel over the new group's classes and the best older class.

    The probability of a class is its score divided by the sum of these 1 + k scores. On a background pixel any older
    class may win: no labels of older classes are needed. Gradients reach the new group alone.

    Args:
        weight: factor of the loss.
        stride: compute the loss on every n-th row and column of the labels.
    """

    def __init__(self, *, weight: float, stride: int) -> None:
        super().__init__()
        self.weight = weight
        self.stride = stride

    def forward(
        self,
        new: DecoderOutputs,
        older: MergedOutputs,
        targets: list[MaskTargets],
        normalizers: LossNormalizers | None = None,
    ) -> torch.Tensor:
        """The weighted loss of a batch, 0 if every pixel is ignored.

        Args:
            new: outputs of the new group's decoder: "pred_logits" (B, k, k + 1), "pred_masks" (B, k, ., .).
            older: "class_probabilities" (B, K) and "pred_masks" (B, K, ., .) of the older groups, without gradients.
            targets: B images; classes are indices within the new group.
            normalizers: see `SegViTCriterion.forward`.
        """
        normalizers = normalizers or mean_over_processes(self.loss_counts(targets), new["pred_masks"].device)
        # Channel 0 stands for the older classes (label BACKGROUND), channel 1 + c for class c of the new group.
        labels = self._labels(targets) + 1  # (B, H, W)
        size = (labels.shape[1], labels.shape[2])
        with torch.no_grad():
            older_scores = class_scores(older["pred_masks"], class_probabilities(older), size)
            best_older = older_scores.amax(dim=1, keepdim=True)
        new_scores = class_scores(new["pred_masks"], class_probabilities(new), size)
        logits = torch.cat([best_older, new_scores], dim=1).clamp(min=FLOOR).log()  # (B, 1 + k, H, W)
        loss = F.cross_entropy(logits, labels, ignore_index=IGNORED + 1, reduction="sum")
        return self.weight * loss / normalizers["loss_competition"]

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """The number of pixels that are not ignored in a batch."""
        return {"loss_competition": (self._labels(targets) != IGNORED).sum()}

    def _labels(self, targets: list[MaskTargets]) -> torch.Tensor:
        return subsample_labels(torch.stack([target.labels for target in targets]), self.stride)
