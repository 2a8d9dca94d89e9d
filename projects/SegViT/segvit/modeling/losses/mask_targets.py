"""`MaskTargets`: the classes and labels of an image, as the losses need them (SegViT v1, section 3.3).

Shape shorthand: B images, H x W pixels, K classes, m classes present in an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# The label of a pixel of no class of the model, and of a pixel without a label (the default of `F.cross_entropy`).
BACKGROUND, IGNORED = -1, -100


@dataclass(frozen=True)
class MaskTargets:
    """The classes and labels of one image.

    Attributes:
        classes: (m,) int64, the classes present, each once.
        labels: (H, W) int64, one of `classes`, `BACKGROUND` or `IGNORED`.
    """

    classes: torch.Tensor
    labels: torch.Tensor


def targets_of_labels(labels: torch.Tensor, *, num_classes: int, ignore_value: int) -> list[MaskTargets]:
    """Make the targets of a batch, on the device of its labels.

    Args:
        labels: (B, H, W) int64. Labels that are neither in 0..K-1 nor ignored are background.
        num_classes: K.
        ignore_value: the label of pixels without a class, inside 0..K-1 or not.

    Returns:
        B targets, their classes in ascending order.
    """
    ignored = labels == ignore_value
    has_class = ~ignored & (labels >= 0) & (labels < num_classes)
    slots = torch.where(has_class, labels, num_classes).flatten(1)
    # (B, K) by one scatter, which neither sorts pixels (`unique`) nor compares them with every class.
    present = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    present = present.scatter_(1, slots, True)[:, :-1]
    labels = labels.where(has_class, BACKGROUND).masked_fill_(ignored, IGNORED)
    return [
        MaskTargets(classes=classes.nonzero().squeeze(1), labels=image_labels)
        for classes, image_labels in zip(present, labels, strict=True)
    ]


def subsample_labels(labels: torch.Tensor, stride: int) -> torch.Tensor:
    """Every `stride`-th row and column of label maps, (..., H, W) -> (..., H / stride, W / stride).

    The middle pixel of each stride x stride cell is taken, because upsampled logits are aligned with it. Cells of even
    width have no middle pixel; the one before it is taken, half a pixel off.
    """
    middle = (stride - 1) // 2
    top, left = (min(middle, length - 1) for length in labels.shape[-2:])
    return labels[..., top::stride, left::stride]
