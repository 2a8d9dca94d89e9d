"""Targets of the losses: the classes and labels of each image, and the counts that losses are divided by.

A loss is a sum over masks, queries, pixels or patches divided by their total weight. The total is counted over the
whole batch, also when the batch runs in several parts, and averaged over the processes. Gradients that are summed over
the parts and averaged over the processes are then those of one large batch (DETR divides its losses by `num_boxes` in
the same way).

Shape shorthand: B images, H x W pixels, K classes, m classes present in an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from segvit.modeling.tokens import send

# The label of a pixel of no class of the model, and of a pixel without a label (the default of `F.cross_entropy`).
BACKGROUND, IGNORED = -1, -100

# Counts by loss name, of one process; and what they become in `mean_over_processes`.
LossCounts = dict[str, torch.Tensor | float]
LossNormalizers = Mapping[str, torch.Tensor]
# The least divisor: a sum over nothing is 0, and its loss is 0 too.
SMALLEST = 1e-6


@dataclass(frozen=True)
class MaskTargets:
    """The classes and labels of one image.

    Attributes:
        classes: (m,) int64 on the CPU, the classes present, each once. The host reads their number, and does not have
            to wait for a GPU.
        labels: (H, W) int64, one of `classes`, `BACKGROUND` or `IGNORED`.
    """

    classes: torch.Tensor
    labels: torch.Tensor


def targets_of_labels(
    labels: torch.Tensor, *, num_classes: int, ignore_value: int, ids: Sequence[torch.Tensor] | None = None
) -> list[MaskTargets]:
    """Make the targets of a batch, on the device of its labels.

    Args:
        labels: (B, H, W) int64. Labels that are neither in 0..K-1 nor ignored are background.
        num_classes: K.
        ignore_value: the label of pixels without a class, inside 0..K-1 or not.
        ids: B tensors on the CPU, the labels that occur in each image; by default they are looked for, for which the
            host waits if the labels are on a GPU.

    Returns:
        B targets, their classes in ascending order.
    """
    ids = ids if ids is not None else [classes_in(image_labels, num_classes) for image_labels in labels]
    ignored = labels == ignore_value
    is_background = labels.clamp(0, num_classes - 1) != labels
    labels = labels.masked_fill(is_background, BACKGROUND).masked_fill_(ignored, IGNORED)
    return [
        MaskTargets(classes=own[(own != ignore_value) & (own >= 0) & (own < num_classes)], labels=image_labels)
        for own, image_labels in zip(ids, labels, strict=True)
    ]


def classes_in(labels: torch.Tensor, num_classes: int, known: torch.Tensor | None = None) -> torch.Tensor:
    """The ids in 0..K-1 that occur in labels of any shape, (n,) int64 on the CPU; or `known`, what a loader found.

    They are found on the device of the labels, by one scatter, which does not sort pixels as `unique` does. The host
    waits for a GPU once.
    """
    if known is not None:
        return known.cpu()
    index = labels.long().flatten()
    index = index.where((index >= 0) & (index < num_classes), num_classes)
    occurs = torch.zeros(num_classes + 1, dtype=torch.bool, device=labels.device)
    occurs[index] = True
    return occurs[:num_classes].cpu().nonzero().squeeze(1)


def subsample_labels(labels: torch.Tensor, stride: int) -> torch.Tensor:
    """Every `stride`-th row and column of label maps, (..., H, W) -> (..., H / stride, W / stride).

    The middle pixel of each stride x stride cell is taken, because upsampled logits are aligned with it. Cells of even
    width have no middle pixel; the one before it is taken, half a pixel off.
    """
    middle = (stride - 1) // 2
    top, left = (min(middle, length - 1) for length in labels.shape[-2:])
    return labels[..., top::stride, left::stride]


def mean_over_processes(counts: LossCounts, device: torch.device) -> dict[str, torch.Tensor]:
    """Average each count over all processes, in one all-reduce that every process must join.

    Args:
        counts: loss name -> scalar; the same names on every process.
        device: of the losses.

    Returns:
        Loss name -> positive float32 scalar.
    """
    known = send(torch.tensor([0.0 if isinstance(count, torch.Tensor) else count for count in counts.values()]), device)
    values = torch.stack(
        [
            count.to(device, torch.float32) if isinstance(count, torch.Tensor) else value
            for count, value in zip(counts.values(), known, strict=True)
        ]
    )
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return dict(zip(counts, values.clamp(min=SMALLEST).unbind(), strict=True))
