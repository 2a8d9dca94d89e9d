"""Decoders of classes that a trained model learns later, and the outputs of all groups as one (SegViTv2, continual).

Shape shorthand: B images, h x w grid, D decoder width, K classes of the whole model, k classes of one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import nn

from segvit.modeling.continual.class_groups import ClassGroups
from segvit.modeling.decoder.atm_decoder import ATMDecoder, DecoderOutputs, StageReading
from segvit.modeling.decoder.shrunk_decoder import ShrunkDecoder
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.postprocessing.semantic_inference import class_probabilities
from segvit.modeling.token_reduction.token_set import Stage

Decoder = ATMDecoder | ShrunkDecoder
Reading = list[StageReading] | StageReading


class AddedDecoder(nn.Module):
    """New class queries, a new decoder and a new classifier, as the paper has it.

    Args:
        decoder: of the group's k classes.

    Attributes:
        factor: what the group's scores are multiplied by, against those of the other groups.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("factor", torch.ones(()))

    def forward(self, stages: list[Stage], first: Decoder, reading: Reading | None = None) -> DecoderOutputs:
        """Decode the stages; the first group's decoder and what it has read of them are not needed."""
        return self.decoder(stages)


class AddedQueries(nn.Module):
    """New class queries and a new classifier that ask the first group's frozen decoder: ours, the light option.

    Args:
        num_classes: k.
        hidden_dim: D.
        init_std: standard deviation of the truncated-normal Linear init.

    Attributes:
        factor: what the group's scores are multiplied by, against those of the other groups.
    """

    def __init__(self, *, num_classes: int, hidden_dim: int, init_std: float) -> None:
        super().__init__()
        self.class_queries = nn.Embedding(num_classes, hidden_dim)
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        self.register_buffer("factor", torch.ones(()))
        initialize_linear_layers(self, init_std)

    def forward(self, stages: list[Stage], first: Decoder, reading: Reading | None = None) -> DecoderOutputs:
        """Ask the first group's decoder; `reading` is what that has read of the stages, if it has already."""
        reading = first.read(stages) if reading is None else reading
        return first.answer(reading, self.class_queries, self.class_embed, with_aux=self.training)


def merge_groups(
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
        "class_probabilities" (B, K) and "pred_masks" (B, K, h, w), what the "diagonal" inference reads.
    """
    probabilities = [class_probabilities(output) for output in outputs]
    scaled = [own if factor is None else own * factor for own, factor in zip(probabilities, factors, strict=True)]
    return {
        "class_probabilities": _merge_channels(scaled, groups, num_classes=num_classes),
        "pred_masks": _merge_channels([output["pred_masks"] for output in outputs], groups, num_classes=num_classes),
    }


def _merge_channels(tensors: Sequence[torch.Tensor], groups: ClassGroups, *, num_classes: int) -> torch.Tensor:
    """Each group's (B, k, ...) -> (B, K, ...) by class id, 0 for the classes of no group.

    Autocast may give groups different dtypes (on CUDA, a softmax is float32); the result has the widest of them.
    """
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    first = tensors[0]
    merged = first.new_zeros(first.shape[0], num_classes, *first.shape[2:], dtype=dtype)
    for group, tensor in zip(groups, tensors, strict=True):
        merged[:, group] = tensor.to(dtype)
    return merged
