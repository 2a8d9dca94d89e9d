"""Focal and dice loss of mask logits, per mask (SegViT v1, section 3.3), in memory that does not grow with the masks.

Autograd would keep a dozen maps of pixels for every mask. Both losses are sums over pixels, so their gradients with
respect to the few logits of the grid are known as soon as a mask's pixels have been seen: a few masks at a time go up
to pixels and come back as losses and gradients, and of the pixels nothing is kept.

Shape shorthand: M masks, m of them at a time, H x W pixels, h x w grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd.function import FunctionCtx, once_differentiable

ALPHA = 0.25  # share of the positives in the focal loss; its gamma is 2
# Pixels at a time: what a CPU core's cache holds, or what keeps a GPU busy.
CPU_PIXELS, GPU_PIXELS = 2**19, 2**24


def focal_and_dice_loss(
    logits: torch.Tensor, masks: torch.Tensor, valid: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sigmoid focal loss (Lin et al. 2017, equation 5) and dice loss (Milletari et al. 2016) of upsampled logits.

    The focal loss is the mean over a mask's pixels, the dice loss is smoothed by one pixel. Differentiable once.

    Args:
        logits: (M, h, w), M at least 1; upsampled as `F.interpolate` does, bilinearly, with `align_corners=False`.
        masks: (M, H, W) bool.
        valid: (M, H, W) bool, False where a pixel does not count; None counts all.

    Returns:
        (M,) each.
    """
    return _FocalAndDiceLoss.apply(logits, masks, valid)


class _FocalAndDiceLoss(torch.autograd.Function):
    """Keeps the gradients of both losses, (M, h, w) each, from the forward pass to the backward pass."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, logits: torch.Tensor, masks: torch.Tensor, valid: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = CPU_PIXELS if logits.device.type == "cpu" else GPU_PIXELS
        count = max(1, pixels // masks[0].numel())
        rows, columns = (_upsampling(n, size, logits) for n, size in zip(logits.shape[1:], masks.shape[1:]))
        # What is kept has its place from the start: small pieces between large ones would scatter the free memory.
        losses, gradients = logits.new_empty(2, len(logits)), logits.new_empty(2, *logits.shape)
        for start in range(0, len(logits), count):
            part = slice(start, start + count)
            counted = None if valid is None else valid[part]
            losses[:, part], gradients[:, part] = _losses_and_gradients(
                logits[part], masks[part], counted, rows, columns
            )
        ctx.save_for_backward(gradients)
        return losses[0], losses[1]

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, focal_weights: torch.Tensor, dice_weights: torch.Tensor
    ) -> tuple[torch.Tensor, None, None]:
        (gradients,) = ctx.saved_tensors  # type: ignore[attr-defined]  # missing in torch's stub
        return focal_weights[:, None, None] * gradients[0] + dice_weights[:, None, None] * gradients[1], None, None


def _upsampling(length: int, wanted: int, like: torch.Tensor) -> torch.Tensor:
    """(wanted, length): linear interpolation as a matrix.

    Its product costs what `F.interpolate` costs, and the product with its transpose a seventh of that one's backward
    pass on a CPU; on a GPU, unlike that pass, it always adds in the same order.
    """
    one_hot = torch.eye(length, dtype=like.dtype, device=like.device)
    return F.interpolate(one_hot[None], size=wanted, mode="linear", align_corners=False)[0].T.contiguous()


def _losses_and_gradients(
    logits: torch.Tensor, masks: torch.Tensor, valid: torch.Tensor | None, rows: torch.Tensor, columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both losses (2, m) and their gradients (2, m, h, w), of masks upsampled by `rows` (H, h) and `columns` (W, w).

    With the miss q = 1 - p of the true side, whose logit is z, and its cross-entropy e = -log(1 - q):
    focal = a q^2 e with d focal / dz = a q^2 (2 (1 - q) e + q), and dq / dz = q (1 - q). The sign of dz / dx is that of
    a negative; overlap and sizes of dice follow from sums of q.
    """
    targets = (masks if valid is None else masks & valid).to(logits.dtype)
    z = rows @ logits @ columns.T  # (m, H, W)
    z *= 1 - 2 * targets
    num_pixels = torch.full_like(z[:, 0, 0], z[0].numel())
    if valid is not None:
        z.masked_fill_(~valid, -torch.inf)  # nothing is missed there, and nothing changes that
        num_pixels = _sum(valid).clamp(min=1).to(z.dtype)
    cross_entropy, miss = F.softplus(z), z.sigmoid_()
    hit, square = 1 - miss, miss * miss
    terms = square * cross_entropy
    focal = ((1 - ALPHA) * _sum(terms) + (2 * ALPHA - 1) * _sum(terms * targets)) / num_pixels
    size, all_missed, positives_missed = _sum(targets), _sum(miss), _sum(miss * targets)
    overlap = 2 * (size - positives_missed) + 1
    total = all_missed - 2 * positives_missed + 2 * size + 1  # predicted, true and 1

    slope = terms.mul_(hit).mul_(2).addcmul_(square, miss)
    slope *= (1 - ALPHA - targets) / num_pixels[:, None, None]
    focal_gradient = rows.T @ slope @ columns
    slope = miss.mul_(hit)
    slope *= (overlap / total**2)[:, None, None] - (2 / total)[:, None, None] * targets
    dice_gradient = rows.T @ slope @ columns
    return torch.stack([focal, 1 - overlap / total]), torch.stack([focal_gradient, dice_gradient])


def _sum(maps: torch.Tensor) -> torch.Tensor:
    return maps.sum(dim=(1, 2))
