"""From class and mask logits to per-pixel class scores (SegViT v1, equation 4; v2, section 3.2).

Shape shorthand: B images, H x W pixels, h x w grid, K classes = queries.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from segvit.errors import UserError


def class_probabilities(outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(B, K): how sure each class query is of its own class, P(class c | query c). No score of class c is higher.

    Args:
        outputs: "pred_logits" (B, K, K + 1), or "class_probabilities" (B, K), where groups of classes that do not know
            of each other have been gathered (see `merge_groups`).
    """
    if "class_probabilities" in outputs:
        return outputs["class_probabilities"]
    return outputs["pred_logits"].softmax(dim=-1).diagonal(dim1=1, dim2=2)


def class_scores(masks: torch.Tensor, probabilities: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Each class by its own query alone: probability * sigmoid(mask), in float32 whatever the model ran in.

    Without gradients the scores of a class do not depend, to the last bit, on which other classes are there.

    Args:
        masks: (B, K, h, w) logits.
        probabilities: (B, K).
        size: (H, W), the pixels that the grid covers.

    Returns:
        (B, K, H, W).
    """
    masks, probabilities = masks.float(), probabilities.float()
    if torch.is_grad_enabled():
        return _upsample(masks, size).sigmoid() * probabilities[..., None, None]
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if masks.device.type != "cpu" or traced or _rounds_like_single_maps(masks, size):
        return _upsample(masks, size).sigmoid_().mul_(probabilities[..., None, None])
    scores = masks.new_empty(*masks.shape[:2], *size)
    for single, mask, probability in zip(scores.flatten(0, 1), masks.flatten(0, 1), probabilities.flatten()):
        torch.mul(_upsample(mask[None, None], size)[0, 0].sigmoid_(), probability, out=single)
    return scores


def _rounds_like_single_maps(masks: torch.Tensor, size: tuple[int, int]) -> bool:
    """Whether upsampling and sigmoid give each map the bits that they give it alone, on a CPU.

    A single map does. PyTorch upsamples three channels, and small maps, by other kernels. It computes sigmoids by
    vectors, but what is left over at the end of each thread's share one by one, which rounds differently.
    """
    pixels, step = size[0] * size[1], 64
    total = masks.shape[0] * masks.shape[1] * pixels
    if total == pixels:
        return True
    whole = all(count % (step * torch.get_num_threads()) == 0 for count in (pixels, total))
    return masks.shape[1] > 3 and sum(size) > 128 and whole


def _upsample(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False)


class SemanticInference(nn.Module):
    """Scores of every class at every pixel.

    Args:
        mode: "mix" lets every query vote for every class: sum over q of P(class c | q) * mask(q) (v1);
            "diagonal" scores class c by its own query alone: P(class c | c) * mask(c) (v2); "softmax" takes the masks
            for the class logits of each pixel, as models trained by `PixelCrossEntropy` have them.

    Raises:
        UserError: for any other mode.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in ("mix", "diagonal", "softmax"):
            raise UserError(f"MODEL.SEGVIT.OUTPUT {mode!r} must be 'mix', 'diagonal' or 'softmax'")
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
        if self.mode == "diagonal":
            return class_scores(outputs["pred_masks"], class_probabilities(outputs), size)
        masks = _upsample(outputs["pred_masks"], size)
        if self.mode == "softmax":
            return masks.softmax(dim=1)
        probabilities = outputs["pred_logits"].softmax(dim=-1)[..., :-1]  # (B, queries, classes)
        masks = masks.sigmoid_() if not torch.is_grad_enabled() else masks.sigmoid()
        return torch.einsum("bqc,bqhw->bchw", probabilities, masks)
