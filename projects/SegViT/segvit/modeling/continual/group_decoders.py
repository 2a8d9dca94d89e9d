"""`AddedDecoder` of a later group of classes, and `merge_groups`: the outputs of all groups as one (v2, continual).

Shape shorthand: B images, h x w grid, K classes of the whole model, k classes of one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import nn

from segvit.modeling.continual.adapter import StageAdapter
from segvit.modeling.continual.class_groups import ClassGroups
from segvit.modeling.decoder.atm_decoder import ATMDecoder
from segvit.modeling.decoder.outputs import DecoderOutputs, MergedOutputs
from segvit.modeling.decoder.shrunk_decoder import ShrunkDecoder
from segvit.modeling.postprocessing.resizing import resize_maps
from segvit.modeling.postprocessing.semantic_inference import class_probabilities
from segvit.modeling.token_reduction.token_set import Stage
from segvit.modeling.tokens import send

Decoder = ATMDecoder | ShrunkDecoder


class AddedDecoder(nn.Module):
    """New class queries, a new decoder and a new classifier for one group, as in the paper.

    Args:
        decoder: of the group's k classes.
        adapter: what the group makes of the deepest stage before its decoder reads it; None for nothing.

    Attributes:
        factor: scalar that the group's scores are multiplied by when they compete with other groups.
    """

    factor: torch.Tensor

    def __init__(self, decoder: Decoder, adapter: StageAdapter | None = None) -> None:
        super().__init__()
        self.adapter = adapter
        self.decoder = decoder
        self.register_buffer("factor", torch.ones(()))

    def forward(self, stages: list[Stage], pixels: Sequence[torch.Tensor] = ()) -> DecoderOutputs:
        """Decode the stages (see `ATMDecoder.forward`)."""
        if self.adapter is not None:
            stages = [self.adapter(stages[0]), *stages[1:]]
        return self.decoder(stages, pixels)


def merge_groups(
    outputs: Sequence[DecoderOutputs],
    groups: ClassGroups,
    *,
    num_classes: int,
    factors: Sequence[torch.Tensor | None],
    padded_size: tuple[int, int],
) -> MergedOutputs:
    """Write each group's outputs to the channels of its class ids.

    The output always has K channels, and no arithmetic crosses groups: the outputs of a group stay bit-identical after
    further groups have been added.

    Args:
        outputs: of each group, "pred_logits" (B, k, k + 1) and "pred_masks" (B, k, h, w).
        groups: the class ids of each group, in the order of its queries.
        num_classes: K; classes that are in no group yet get the score 0.
        factors: positive scalars, the factor of each group's scores; None for 1.
        padded_size: (H, W) pixels that the grids cover.

    Returns:
        "class_probabilities" (B, K) and "pred_masks" (B, K, h, w), for the "diagonal" inference.
    """
    probabilities = [
        class_probabilities(output) if factor is None else class_probabilities(output) * factor
        for output, factor in zip(outputs, factors, strict=True)
    ]
    masks = _on_one_grid([output["pred_masks"] for output in outputs], padded_size)
    return {
        "class_probabilities": _merge_channels(probabilities, groups, num_classes=num_classes),
        "pred_masks": _merge_channels(masks, groups, num_classes=num_classes),
    }


def _on_one_grid(masks: list[torch.Tensor], padded_size: tuple[int, int]) -> list[torch.Tensor]:
    """Masks (B, k, ., .) as they are, or on the grid of pixels where groups differ, of which one has learnt no detail.

    Any grid between the two would interpolate the coarser masks twice, and change the scores of their group.
    """
    if all(mask.shape[-2:] == masks[0].shape[-2:] for mask in masks):
        return masks
    return [resize_maps(mask.float(), padded_size) for mask in masks]


def _merge_channels(tensors: Sequence[torch.Tensor], groups: ClassGroups, *, num_classes: int) -> torch.Tensor:
    """Each group's (B, k, ...) -> (B, K, ...) by class id, 0 for classes of no group.

    Under autocast groups may have different dtypes (on CUDA, a softmax is float32); the result has the widest of them.
    """
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    first = tensors[0]
    merged = first.new_zeros(first.shape[0], num_classes, *first.shape[2:], dtype=dtype)
    for class_ids, tensor in zip(groups, tensors, strict=True):
        merged.index_copy_(1, send(torch.tensor(class_ids), first.device), tensor.to(dtype))
    return merged
