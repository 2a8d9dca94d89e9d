"""From class and mask logits to per-pixel class scores (SegViT v1, equation 4; v2, section 3.2).

Shape shorthand: B images, H x W pixels, h x w grid, K classes = queries.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class SemanticInference(nn.Module):
    """Scores of every class at every pixel.

    Args:
        mode: "mix" lets every query vote for every class: sum over q of P(class c | q) * mask(q) (v1);
            "diagonal" scores class c by its own query alone: P(class c | c) * mask(c) (v2); "softmax" takes the masks
            for the class logits of each pixel, as models trained by `PixelCrossEntropy` have them.

    Raises:
        ValueError: for any other mode.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in ("mix", "diagonal", "softmax"):
            raise ValueError(f"MODEL.SEGVIT.OUTPUT {mode!r} must be 'mix', 'diagonal' or 'softmax'")
        self.mode = mode

    def forward(self, outputs: dict[str, torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """Scores of at least 0, and of at most 1, or K with "mix", where the votes of queries add up.

        Args:
            outputs: "pred_logits" (B, K, K + 1), not read by "softmax", and "pred_masks" (B, K, h, w).
            size: (H, W), the pixels that the grid covers. Mask logits are upsampled to it before the sigmoid (or
                softmax), as in the official release.

        Returns:
            (B, K, H, W); the classes of a pixel sum to one with "softmax" alone: the others leave "no object" out.
        """
        masks = F.interpolate(outputs["pred_masks"], size=size, mode="bilinear", align_corners=False)
        if self.mode == "softmax":
            return masks.softmax(dim=1)
        masks = masks.sigmoid_() if not torch.is_grad_enabled() else masks.sigmoid()
        if self.mode == "mix":
            probabilities = outputs["pred_logits"].softmax(dim=-1)[..., :-1]  # (B, queries, classes)
            return torch.einsum("bqc,bqhw->bchw", probabilities, masks)
        own = own_probabilities(outputs)[..., None, None]  # (B, K, 1, 1)
        return masks.mul_(own) if not torch.is_grad_enabled() else masks * own


def own_probabilities(outputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """(B, K): each query's probability of its own class.

    They come from "pred_logits" (B, K, K + 1), or are "own_probabilities" where groups of classes have been gathered
    (see `gather_groups`), whose queries do not know each other's classes.
    """
    if "own_probabilities" in outputs:
        return outputs["own_probabilities"]
    return outputs["pred_logits"].softmax(dim=-1)[..., :-1].diagonal(dim1=1, dim2=2)
