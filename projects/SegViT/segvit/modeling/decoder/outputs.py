"""Types of what decoders return, and what losses and semantic inference read.

Shape shorthand: B images, h x w grid, K classes = queries.
"""

from __future__ import annotations

from typing import TypedDict, cast, final

import torch


class StageOutputs(TypedDict):
    """The prediction of one decoder stage."""

    pred_logits: torch.Tensor  # (B, K, K + 1), index K is "no object"
    pred_masks: torch.Tensor  # (B, K, h, w) logits


@final
class MaskOutputs(TypedDict):
    """Masks of the queries whose class logits are predicted elsewhere."""

    pred_masks: torch.Tensor  # (B, K, h, w) logits


class DecoderOutputs(StageOutputs):
    """The prediction of the last stage; in training, with those of the earlier stages and the masks before detail."""

    aux_outputs: list[StageOutputs | MaskOutputs]


@final
class PixelOutputs(TypedDict):
    """Per-pixel class logits; there are no class queries, and `aux_outputs` is empty."""

    pred_masks: torch.Tensor  # (B, K, h, w)
    aux_outputs: list[StageOutputs | MaskOutputs]


@final
class MergedOutputs(TypedDict):
    """Groups of classes as one model: each group has a "no object" of its own, so there are no joint class logits."""

    class_probabilities: torch.Tensor  # (B, K), of query c for class c
    pred_masks: torch.Tensor  # (B, K, h, w) logits


def in_float32(outputs: DecoderOutputs) -> DecoderOutputs:
    """The outputs of a model that ran under autocast as float32; `aux_outputs`, empty in inference, stay."""
    converted = {name: value.float() if isinstance(value, torch.Tensor) else value for name, value in outputs.items()}
    return cast("DecoderOutputs", converted)
