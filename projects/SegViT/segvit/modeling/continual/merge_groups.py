"""The outputs of groups of classes that were learnt one after the other, as those of one model (SegViTv2, continual).

Shape shorthand: B images, h x w grid, K classes of the whole model, k classes of one group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segvit.modeling.continual.class_groups import ClassGroups
from segvit.modeling.postprocessing.semantic_inference import own_probabilities


def gather_groups(
    outputs: Sequence[dict[str, torch.Tensor]],
    groups: ClassGroups,
    *,
    num_classes: int,
    factors: Sequence[torch.Tensor | None],
) -> dict[str, torch.Tensor]:
    """Put each group's classes at their ids.

    Every group has K channels to write into, however many groups there are, and no group's numbers meet another's: what
    one of them gives is bit for bit the same after further groups have been added.

    Args:
        outputs: of each group, "pred_logits" (B, k, k + 1) and "pred_masks" (B, k, h, w).
        groups: the class ids of each group, in the order of its queries.
        num_classes: K; the classes of no group yet get the score 0.
        factors: positive scalars, what the scores of each group are multiplied by; None for 1.

    Returns:
        "own_probabilities" (B, K) and "pred_masks" (B, K, h, w), what the "diagonal" inference reads.
    """
    first = outputs[0]["pred_masks"]
    probabilities = first.new_zeros(first.shape[0], num_classes)
    masks = first.new_zeros(first.shape[0], num_classes, *first.shape[2:])
    for group, output, factor in zip(groups, outputs, factors, strict=True):
        own = own_probabilities(output)
        probabilities[:, group] = own if factor is None else own * factor
        masks[:, group] = output["pred_masks"]
    return {"own_probabilities": probabilities, "pred_masks": masks}
