"""`EdgeLoss` of the edge head, and its targets: the patches that hold a class boundary (v2, section 3.4).

Shape shorthand: B images, H x W pixels, P patch, h = H/P, w = W/P.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.losses.targets import IGNORED, LossCounts, LossNormalizers, mean_over_processes


class EdgeTargets(NamedTuple):
    """What the edge head should predict, (B, h, w) each.

    Attributes:
        edges: int64, 1 for patches with a class boundary, else 0.
        weights: of the patches in the loss; 0 for those without any label.
    """

    edges: torch.Tensor
    weights: torch.Tensor


class EdgeLoss(nn.Module):
    """Cross-entropy of the edge head over patches, with a weight for edges; patches without any label are left out.

    Args:
        ignore_value: the label without a class: it makes no boundary.
        weight: factor of the loss. The head alone receives its gradients.
        edge_weight: weight of an edge patch; 1.0 for others.
    """

    class_weights: torch.Tensor

    def __init__(self, *, ignore_value: int, weight: float = 1.0, edge_weight: float = 1.0) -> None:
        super().__init__()
        self.ignore_value = ignore_value
        self.weight = weight
        self.register_buffer("class_weights", torch.tensor([1.0, edge_weight]), persistent=False)

    def forward(
        self, edge_logits: torch.Tensor, targets: EdgeTargets, normalizers: LossNormalizers | None = None
    ) -> torch.Tensor:
        """The weighted loss of a batch, a scalar attached to the graph for any labels.

        Args:
            edge_logits: (B, 2, h, w).
            targets: of the batch, from `targets`.
            normalizers: see `SegViTCriterion.forward`.
        """
        normalizers = normalizers or mean_over_processes(self.loss_counts(targets), edge_logits.device)
        with torch.autocast(edge_logits.device.type, enabled=False):
            losses = F.cross_entropy(edge_logits.float(), targets.edges, reduction="none")
            return self.weight * (losses * targets.weights).sum() / normalizers["loss_edge"]

    def targets(self, labels: torch.Tensor, grid: tuple[int, int]) -> EdgeTargets:
        """The targets of labels (B, H, W) int64 on a grid (h, w)."""
        edges = edge_patches(labels, grid, ignore_value=self.ignore_value).long()
        labelled = any_in_patch(labels != self.ignore_value, grid)
        return EdgeTargets(edges, self.class_weights[edges] * labelled)

    def loss_counts(self, targets: EdgeTargets) -> LossCounts:
        """The weight of all labelled patches in a batch."""
        return {"loss_edge": targets.weights.sum()}


def edge_patches(labels: torch.Tensor, grid: tuple[int, int], *, ignore_value: int) -> torch.Tensor:
    """(B, H, W) labels -> (B, h, w) bool: patches with at least one boundary pixel."""
    return any_in_patch(class_change_pixels(labels, ignore_value=ignore_value), grid)


def class_change_pixels(labels: torch.Tensor, *, ignore_value: int) -> torch.Tensor:
    """(B, H, W) labels -> (B, H, W) bool: pixels with a neighbour (left, right, above, below) of another
    class. Ignored pixels make no boundary."""
    boundary = torch.zeros_like(labels, dtype=torch.bool)
    for dim in (1, 2):
        length = labels.shape[dim] - 1
        first, second = labels.narrow(dim, 0, length), labels.narrow(dim, 1, length)
        differs = (first != second) & (first != ignore_value) & (second != ignore_value)
        boundary.narrow(dim, 0, length).logical_or_(differs)
        boundary.narrow(dim, 1, length).logical_or_(differs)
    return boundary


def any_in_patch(pixels: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(B, H, W) bool -> (B, h, w) bool; H and W are whole multiples of h and w."""
    patch = (pixels.shape[1] // grid[0], pixels.shape[2] // grid[1])
    return F.max_pool2d(pixels[:, None].float(), kernel_size=patch)[:, 0] > 0


def near_boundaries(labels: torch.Tensor) -> torch.Tensor:
    """(B, H, W) labels -> (B, H, W) bool: the two pixels on each side of a class boundary. Ignored ones make none."""
    edges = class_change_pixels(labels, ignore_value=IGNORED)
    return F.max_pool2d(edges[:, None].float(), kernel_size=3, stride=1, padding=1)[:, 0] > 0
