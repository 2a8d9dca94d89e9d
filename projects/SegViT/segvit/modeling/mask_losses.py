"""Focal and dice loss of mask logits, per mask (SegViT v1, section 3.3).

Shape shorthand: M masks, P pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def focal_loss(
    logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor | None, *, alpha: float = 0.25, gamma: float = 2.0
) -> torch.Tensor:
    """Sigmoid focal loss (Lin et al. 2017, equation 5), the mean over pixels of each mask.

    Args:
        logits: (M, P).
        targets: (M, P), 0 or 1.
        valid: (M, P), 1 where a pixel counts and 0 where it does not; None counts all.

    Returns:
        (M,)
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    miss = probability + targets - 2 * probability * targets  # 1 - p of the true side
    loss = (alpha * targets + (1 - alpha) * (1 - targets)) * miss**gamma * cross_entropy
    if valid is None:
        return loss.mean(dim=1)
    return (loss * valid).sum(dim=1) / valid.sum(dim=1).clamp(min=1)


def dice_loss(logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Dice loss with a smoothing of one pixel (Milletari et al. 2016), arguments and result as in `focal_loss`."""
    probability = logits.sigmoid()
    if valid is not None:
        probability, targets = probability * valid, targets * valid
    intersection = (probability * targets).sum(dim=1)
    return 1 - (2 * intersection + 1) / (probability.sum(dim=1) + targets.sum(dim=1) + 1)
