"""What a label map asks of the masks, without matching: query c answers for class c (SegViT v1, section 3.3).

Shape shorthand: B images, H x W pixels, K classes, m classes present in an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class MaskTargets:
    """What one image asks for.

    Attributes:
        classes: (m,) int64, the classes present, each once.
        masks: (m, H, W) bool, where each of them is.
        valid: (H, W) bool, False where the label is ignored.
    """

    classes: torch.Tensor
    masks: torch.Tensor
    valid: torch.Tensor


def targets_of_labels(labels: torch.Tensor, *, num_classes: int, ignore_value: int) -> list[MaskTargets]:
    """The targets of each image, where its labels are.

    Args:
        labels: (B, H, W) int64. What is neither in 0..K-1 nor ignored is background: valid, and in no mask.
        num_classes: K.
        ignore_value: the label of pixels without a class, in 0..K-1 or not.

    Returns:
        B targets, their classes in ascending order.
    """
    valid = labels != ignore_value
    counted = valid & (labels >= 0) & (labels < num_classes)
    slots = torch.where(counted, labels, num_classes).flatten(1)
    present = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    present = present.scatter_(1, slots, True)[:, :-1]  # (B, K); neither sorted nor compared class by class
    classes = [image.nonzero().squeeze(1) for image in present]
    return [
        MaskTargets(classes=own, masks=label == own[:, None, None], valid=shown)
        for own, label, shown in zip(classes, labels, valid, strict=True)
    ]


def subsample_labels(label_map: torch.Tensor, stride: int) -> torch.Tensor:
    """Every `stride`-th row and column of a label map, (..., H, W) -> (..., H / stride, W / stride).

    The middle pixel of each stride x stride cell is taken, as upsampled logits are aligned with it. Cells of even width
    have no middle pixel; the one before it is taken, half a pixel off.
    """
    middle = (stride - 1) // 2
    top, left = (min(middle, length - 1) for length in label_map.shape[-2:])
    return label_map[..., top::stride, left::stride]
