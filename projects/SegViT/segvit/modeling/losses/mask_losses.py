"""`focal_and_dice_loss` of mask logits, per mask, in constant memory (SegViT v1, section 3.3).

Autograd would keep a dozen pixel maps for every mask until the backward pass. Both losses are sums over pixels, so the
forward pass already computes their gradients with respect to the logits of the coarse grid, a few masks at a time, and
keeps these gradients only.

Shape shorthand: S stages, M masks, m of them at a time, H x W pixels, h x w grid.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch.autograd.function import FunctionCtx, once_differentiable

# Weight of positive pixels in the focal loss; its gamma is 2.
ALPHA = 0.25
# Pixels processed at a time: they fit the cache of a CPU core, or keep a GPU busy.
CPU_PIXELS, GPU_PIXELS = 2**19, 2**24


def focal_and_dice_loss(
    logits: torch.Tensor,
    masks: torch.Tensor,
    valid: torch.Tensor | None = None,
    *,
    boundaries: torch.Tensor | None = None,
    boundary_weight: float = 0.0,
    compiled: bool = False,
) -> torch.Tensor:
    """Sigmoid focal loss (Lin et al. 2017, equation 5) and dice loss (Milletari et al. 2016) of upsampled logits.

    The focal loss is the weighted mean over a mask's pixels; the dice loss is smoothed by one pixel. Both can be
    differentiated once, not twice.

    Args:
        logits: (M, h, w) or, of several stages, (S, M, h, w) with M >= 1; upsampled bilinearly, with
            `align_corners=False`.
        masks: (M, H, W) bool; all stages are compared with the same masks.
        valid: (M, H, W) bool, False at pixels without loss; None for no such pixels.
        boundaries: (M, H, W) bool, True at pixels with the weight 1 + `boundary_weight` in the focal loss, not 1.
        boundary_weight: 0 or more.
        compiled: compute them by torch.compile, which needs fewer kernels and less memory.

    Returns:
        The focal loss and the dice loss of each mask, (2, M) or (2, S, M).
    """
    function = _compiled_losses() if compiled else _losses_and_gradients
    coarse = logits.view(-1, *logits.shape[-3:])
    losses = _FocalAndDiceLoss.apply(coarse, masks, valid, boundaries, boundary_weight, function)
    return losses.view(2, *logits.shape[:-2])


class _FocalAndDiceLoss(torch.autograd.Function):
    """Saves the gradients of both losses, (S, M, h, w) each, for the backward pass."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: torch.Tensor,
        masks: torch.Tensor,
        valid: torch.Tensor | None,
        boundaries: torch.Tensor | None,
        boundary_weight: float,
        function: Callable[..., tuple[torch.Tensor, torch.Tensor]],
    ) -> torch.Tensor:
        pixels = CPU_PIXELS if logits.device.type == "cpu" else GPU_PIXELS
        stages, number = logits.shape[:2]
        count = max(1, pixels // (stages * masks[0].numel()))
        # Matrices of fake tensors, which have shapes alone, are not kept for later steps.
        upsampling = _upsampling if type(logits) is torch.Tensor else _upsampling.__wrapped__
        sizes = zip(logits.shape[2:], masks.shape[1:])
        rows, columns = (upsampling(n, size, logits.dtype, logits.device) for n, size in sizes)
        # Results are allocated first: small tensors between large temporary ones would fragment the memory.
        losses = logits.new_empty(2, stages, number)
        gradients = logits.new_empty(2, *logits.shape)
        for start in range(0, number, count):
            chunk = slice(start, start + count)
            valid_chunk = None if valid is None else valid[chunk]
            weights = None if boundaries is None else 1 + boundary_weight * boundaries[chunk].to(logits.dtype)
            losses[:, :, chunk], gradients[:, :, chunk] = function(
                logits[:, chunk], masks[chunk], valid_chunk, weights, rows, columns
            )
        ctx.save_for_backward(gradients)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, weights: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None, None]:
        focal_weights, dice_weights = weights
        (gradients,) = ctx.saved_tensors  # type: ignore[attr-defined]  # missing in torch's stub
        weighted = focal_weights[..., None, None] * gradients[0]
        return weighted.addcmul_(dice_weights[..., None, None], gradients[1]), None, None, None, None, None


@lru_cache(maxsize=16)
def _upsampling(length: int, output_length: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(output_length, length): linear interpolation as a matrix, made once for all steps.

    Multiplying by it costs as much as `F.interpolate`. Multiplying by its transpose takes a seventh of the time of the
    backward pass of `F.interpolate` on a CPU, and is deterministic on a GPU, which that backward pass is not.
    """
    one_hot = torch.eye(length, dtype=dtype, device=device)
    return F.interpolate(one_hot[None], size=output_length, mode="linear", align_corners=False)[0].T.contiguous()


def _losses_and_gradients(
    logits: torch.Tensor,
    masks: torch.Tensor,
    valid: torch.Tensor | None,
    weights: torch.Tensor | None,
    rows: torch.Tensor,
    columns: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both losses (2, S, m) and their gradients (2, S, m, h, w); `rows` (H, h) and `columns` (W, w) upsample the masks.

    `weights` (m, H, W) are those of pixels in the focal loss.

    With x the upsampled logit of a pixel, let z = -x for positives and z = x for negatives, and q = sigmoid(z), the
    probability of the wrong side, with the cross-entropy e = -log(1 - q). Then focal = a q^2 e,
    d focal / dz = a q^2 (2 (1 - q) e + q), and dq / dz = q (1 - q). Overlap and sizes in dice follow from sums of q.
    """
    targets = (masks if valid is None else masks & valid).to(logits.dtype)
    # Probabilities of the wrong side.
    z = rows @ logits @ columns.T  # (S, m, H, W)
    z *= 1 - 2 * targets
    num_pixels = torch.full_like(targets[:, 0, 0], targets[0].numel())
    if valid is not None:
        z.masked_fill_(~valid, -torch.inf)  # q = 0: no loss and no gradient
        num_pixels = _sum(valid).clamp(min=1).to(z.dtype)
    if weights is not None:
        num_pixels = _sum(weights if valid is None else weights * valid).clamp(min=1)
    cross_entropy = F.softplus(z)
    miss = z.sigmoid_()
    hit = 1 - miss
    square = miss * miss
    if weights is not None:
        square *= weights

    # Both losses.
    terms = square * cross_entropy
    focal = ((1 - ALPHA) * _sum(terms) + (2 * ALPHA - 1) * _sum(terms * targets)) / num_pixels
    size = _sum(targets)
    all_missed = _sum(miss)
    positives_missed = _sum(miss * targets)
    overlap = 2 * (size - positives_missed) + 1
    total = all_missed - 2 * positives_missed + 2 * size + 1  # predicted, true and 1

    # Their gradients at the pixels, brought back to the grid.
    slope = terms.mul_(hit).mul_(2).addcmul_(square, miss)
    slope *= (1 - ALPHA - targets) / num_pixels[:, None, None]
    focal_gradient = rows.T @ slope @ columns
    slope = miss.mul_(hit)
    slope *= (overlap / total**2)[..., None, None] - (2 / total)[..., None, None] * targets
    dice_gradient = rows.T @ slope @ columns
    return torch.stack([focal, 1 - overlap / total]), torch.stack([focal_gradient, dice_gradient])


@cache
def _compiled_losses() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """`_losses_and_gradients` as a graph; a second number of masks compiles it anew, for any number."""
    return torch.compile(_losses_and_gradients)


def _sum(maps: torch.Tensor) -> torch.Tensor:
    return maps.sum(dim=(-2, -1))
