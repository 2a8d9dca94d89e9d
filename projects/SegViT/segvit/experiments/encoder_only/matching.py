"""Bipartite matching: which query is to predict which mask of an image (DETR, Carion et al. 2020, section 3.1).

Shape shorthand: Q queries, K classes, m masks of an image, P pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class LossWeights:
    """Factors of the three losses, in the matching and in the sum of losses (Mask2Former's and EoMT's values)."""

    classes: float = 2.0
    cross_entropy: float = 5.0
    dice: float = 5.0


@torch.no_grad()
def matching_costs(
    class_logits: torch.Tensor, mask_logits: torch.Tensor, classes: torch.Tensor, masks: torch.Tensor, w: LossWeights
) -> torch.Tensor:
    """(Q, m) what it costs to let a query predict a mask.

    Args:
        class_logits: (Q, K + 1).
        mask_logits: (Q, P).
        classes: (m,) ids.
        masks: (m, P), 0 or 1.
        w: factors.
    """
    probability = class_logits.softmax(dim=-1)[:, classes]
    # The mean cross-entropy of each pair: of a pixel it is softplus(x), less x where the mask is 1.
    num_pixels = max(masks.shape[1], 1)
    cross_entropy = (F.softplus(mask_logits).sum(dim=1, keepdim=True) - mask_logits @ masks.T) / num_pixels
    inside = mask_logits.sigmoid()
    sizes = inside.sum(dim=1, keepdim=True) + masks.sum(dim=1)
    dice = 1 - (2 * inside @ masks.T + 1) / (sizes + 1)
    return w.cross_entropy * cross_entropy + w.dice * dice - w.classes * probability


def match(costs: torch.Tensor) -> torch.Tensor:
    """Costs (Q, m), Q >= m -> (m,) the query of each mask, each once, at the least sum of costs (Hungarian method)."""
    queries, masks = linear_sum_assignment(costs.float().cpu().numpy())
    matched = torch.empty(costs.shape[1], dtype=torch.int64)
    matched[torch.from_numpy(masks)] = torch.from_numpy(queries)
    return matched.to(costs.device)
