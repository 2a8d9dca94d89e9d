"""`SemanticInference`: class and mask logits to per-pixel class scores (SegViT v1, equation 4; v2, section 3.2).

Shape shorthand: B images, H x W pixels, h x w grid, K classes = queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.postprocessing.resizing import resize_maps


def class_probabilities(outputs: Mapping[str, Any]) -> torch.Tensor:
    """P(class c | query c) of every class: (B, K). It bounds the "diagonal" score of the class from above.

    Args:
        outputs: of a decoder ("pred_logits", see `StageOutputs`), or of several groups of classes
            ("class_probabilities", see `MergedOutputs`).
    """
    if "pred_logits" in outputs:
        return outputs["pred_logits"].float().softmax(dim=-1).diagonal(dim1=1, dim2=2)
    return outputs["class_probabilities"]


def class_scores(masks: torch.Tensor, probabilities: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The "diagonal" output: class probability * sigmoid(mask), in float32 whatever the model ran in.

    Args:
        masks: (B, K, h, w) logits.
        probabilities: (B, K).
        size: (H, W), the pixels that the grid covers.

    Returns:
        (B, K, H, W).
    """
    upsampled = resize_maps(masks.float(), size)
    factors = probabilities.float()[..., None, None]
    if torch.is_grad_enabled():
        return upsampled.sigmoid() * factors
    return upsampled.sigmoid_().mul_(factors)  # in place: the scores of a large image are gigabytes


class SemanticInference(nn.Module):
    """Decoder outputs to scores of every class at every pixel.

    Args:
        mode: "mix" lets every query vote for every class: sum over q of P(class c | q) * mask(q) (SegViT v1, eq. 4);
            "diagonal" scores class c by its own query alone: P(class c | c) * mask(c) (v2, section 3.2); "softmax"
            reads the masks as class logits of each pixel, as `PixelCrossEntropy` trains them.

    Raises:
        ArgumentError: for any other mode.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in ("mix", "diagonal", "softmax"):
            raise ArgumentError("mode", f"{mode!r} must be 'mix', 'diagonal' or 'softmax'")
        self.mode = mode

    def forward(self, outputs: Mapping[str, Any], size: tuple[int, int]) -> torch.Tensor:
        """Score every class at every pixel of a batch.

        Args:
            outputs: "pred_logits" (B, K, K + 1), not read by "softmax", and "pred_masks" (B, K, h, w).
            size: (H, W), the pixels that the grid covers.

        Returns:
            (B, K, H, W), from 0 to 1, or to K with "mix", where votes add up. The scores of a pixel sum to 1 with
            "softmax" alone; the other modes leave "no object" out.
        """
        if self.mode == "diagonal":
            return class_scores(outputs["pred_masks"], class_probabilities(outputs), size)
        # Mask logits are upsampled before the sigmoid or softmax, as in the official release.
        masks = resize_maps(outputs["pred_masks"], size)
        if self.mode == "softmax":
            return masks.softmax(dim=1)
        # Every query's mask votes for class c by its probability of c; "no object" has no vote.
        probabilities = outputs["pred_logits"].softmax(dim=-1)[..., :-1]  # (B, queries, classes)
        masks = masks.sigmoid() if torch.is_grad_enabled() else masks.sigmoid_()
        # Not an einsum: its strides depend on the image's size for K = 1, which exporters refuse.
        votes = probabilities.transpose(1, 2) @ masks.flatten(2)  # (B, classes, H*W)
        return votes.unflatten(2, masks.shape[-2:])
