"""Cross-entropy of every labelled pixel: what per-pixel classifiers learn by, and what the paper's ablation of losses
(SegViT v1) compares the mask losses with.

Shape shorthand: B images, H x W pixels, h x w grid, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.losses.loss_normalizers import normalizers
from segvit.modeling.losses.mask_targets import MaskTargets, subsample_labels

NO_CLASS = -100


class PixelCrossEntropy(nn.Module):
    """Softmax cross-entropy over the classes of each pixel, "pred_masks" being the logits.

    Every stage is supervised alike. Losses are computed in float32 whatever the autocast, as means over the labelled
    pixels of the batch; every call returns the same keys, attached to the graph, whatever the labels.

    Args:
        weight: factor of the loss.
        stride: compute the loss on every n-th row and column of the labels.

    Attributes:
        output_modes: the modes of `SemanticInference` that take the masks for what this trains them to be.
    """

    output_modes = ("softmax",)

    def __init__(self, *, weight: float = 1.0, stride: int = 1) -> None:
        super().__init__()
        self.weight = weight
        self.stride = stride

    def forward(self, outputs: dict[str, torch.Tensor], targets: list[MaskTargets]) -> dict[str, torch.Tensor]:
        """Weighted losses of one batch.

        Args:
            outputs: "pred_masks" (B, K, h, w), and "aux_outputs", a list of the same. "pred_logits", where a decoder
                gives them, have no part in the loss.
            targets: B images; all label maps of one size, the size that the grid covers. Ignored pixels have no loss.

        Returns:
            "loss_ce" of the last stage, and "loss_ce_<s>" for auxiliary stage s.
        """
        labels = torch.stack([label_map(target, self.stride) for target in targets])  # (B, H / stride, W / stride)
        names = ["loss_ce", *(f"loss_ce_{index}" for index in range(len(outputs["aux_outputs"])))]
        with torch.autocast(labels.device.type, enabled=False):
            divisor = normalizers(_counted(labels), labels.device)["loss_ce"]
            stages = zip(names, [outputs, *outputs["aux_outputs"]], strict=True)
            return {name: self._stage_loss(stage, labels, divisor) for name, stage in stages}

    def totals(self, targets: list[MaskTargets]) -> dict[str, torch.Tensor]:
        """The number of labelled pixels in a batch (see `normalizers`)."""
        return _counted(torch.stack([label_map(target, self.stride) for target in targets]))

    def _stage_loss(
        self, outputs: dict[str, torch.Tensor], labels: torch.Tensor, divisor: torch.Tensor
    ) -> torch.Tensor:
        logits = F.interpolate(
            outputs["pred_masks"].float(), size=labels.shape[1:], mode="bilinear", align_corners=False
        )
        total = F.cross_entropy(logits, labels, ignore_index=NO_CLASS, reduction="sum")
        loss = self.weight * total / divisor
        # A gradient of zero for what only the class logits need: DistributedDataParallel asks every parameter for one.
        return loss + 0 * outputs["pred_logits"].float().sum() if "pred_logits" in outputs else loss


def _counted(labels: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"loss_ce": (labels != NO_CLASS).sum()}


def label_map(target: MaskTargets, stride: int = 1) -> torch.Tensor:
    """(H / stride, W / stride) int64 classes of the sampled pixels, `NO_CLASS` where ignored."""
    masks, valid = subsample_labels(target.masks, stride), subsample_labels(target.valid, stride)
    labels = torch.full_like(valid, NO_CLASS, dtype=torch.int64)
    for class_id, mask in zip(target.classes, masks, strict=True):
        labels.masked_fill_(mask & valid, class_id)
    return labels
