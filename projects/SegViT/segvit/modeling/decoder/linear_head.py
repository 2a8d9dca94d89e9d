"""`LinearHead`: a linear classifier of every token, the simplest segmentation head and a baseline in benchmarks.

Shape shorthand: B images, h x w grid, C encoder width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from segvit.modeling.token_reduction.token_set import CellMap, as_map


class LinearHead(nn.Module):
    """One linear map C -> K at every token of one stage.

    Args:
        in_feature: name of the stage, usually the deepest.
        embed_dim: C, the width of that stage.
        num_classes: K.
    """

    def __init__(self, *, in_feature: str, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        self.in_feature = in_feature
        self.classifier = nn.Conv2d(embed_dim, num_classes, kernel_size=1)

    def forward(self, features: Mapping[str, torch.Tensor | CellMap]) -> torch.Tensor:
        """Maps (B, C, h, w) by stage name -> class logits (B, K, h, w)."""
        return self.classifier(as_map(features[self.in_feature]))
