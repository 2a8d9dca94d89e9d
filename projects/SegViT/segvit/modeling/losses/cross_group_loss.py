"""Let a new group of classes learn to win its own pixels, and no others, against the frozen groups before it: ours.

The losses of the ATM decoder train each mask by itself; in prediction the highest score among the classes of all groups
wins, and groups that are trained apart never met. Here they do, on the new step's own labels.

Shape shorthand: B images, H x W pixels, K classes of the whole model, k classes of the new group.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.losses.loss_normalizers import normalizers
from segvit.modeling.losses.mask_targets import MaskTargets, subsample_labels
from segvit.modeling.postprocessing.semantic_inference import class_probabilities, class_scores

# The label of pixels that carry no loss.
IGNORED = -1
# Scores below are as good as none; their logarithms would be without bounds.
FLOOR = 1e-6


class CrossGroupLoss(nn.Module):
    """Cross-entropy of each pixel over the new group's classes and the best of all older ones.

    The share of a class in the sum of the scores is taken for its probability. A background pixel is to go to the older
    groups, whichever of their classes it is: no label of theirs is read. Gradients reach the new group alone.

    Args:
        weight: factor of the loss.
        stride: compute it on every n-th row and column of the labels.
    """

    def __init__(self, *, weight: float, stride: int) -> None:
        super().__init__()
        self.weight = weight
        self.stride = stride

    def forward(
        self, new: dict[str, torch.Tensor], older: dict[str, torch.Tensor], targets: list[MaskTargets]
    ) -> torch.Tensor:
        """The weighted loss of a batch, 0 where every pixel is ignored.

        Args:
            new: outputs of the new group's decoder: "pred_logits" (B, k, k + 1), "pred_masks" (B, k, ., .).
            older: "class_probabilities" (B, K) and "pred_masks" (B, K, ., .) of the older groups, without gradients.
            targets: B images; classes are positions in the new group.
        """
        labels = torch.stack([self._labels(target) for target in targets])  # (B, H, W): 0 older, 1 + position
        size = (labels.shape[1], labels.shape[2])
        with torch.no_grad():
            best_older = class_scores(older["pred_masks"], class_probabilities(older), size).amax(dim=1, keepdim=True)
        scores = class_scores(new["pred_masks"], class_probabilities(new), size)
        logits = torch.cat([best_older, scores], dim=1).clamp(min=FLOOR).log()  # (B, 1 + k, H, W)
        total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
        return self.weight * total / normalizers(self.totals(targets), total.device)["loss_competition"]

    def totals(self, targets: list[MaskTargets]) -> dict[str, torch.Tensor]:
        """What counts in a batch: the number of pixels that are not ignored (see `normalizers`)."""
        return {"loss_competition": sum(subsample_labels(target.valid, self.stride).sum() for target in targets)}

    def _labels(self, target: MaskTargets) -> torch.Tensor:
        valid = subsample_labels(target.valid, self.stride)
        masks = subsample_labels(target.masks, self.stride)  # (m, H, W), disjoint
        labels = (masks * (target.classes + 1)[:, None, None]).sum(dim=0)
        return labels.where(valid, labels.new_full((), IGNORED))
