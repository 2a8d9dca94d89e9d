"""Per-pixel linear classifier: the least that a segmentation head can do, the floor in benchmarks.

Shape shorthand in this module: B: images; C: encoder width; K: classes; h, w: the grid of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class LinearHead(nn.Module):
    """One linear map C -> K at every token of one stage."""

    def __init__(self, *, in_feature: str, embed_dim: int, num_classes: int) -> None:
        """
        Args:
            in_feature: name of the stage, usually the deepest.
            embed_dim: C, the width of that stage.
        """
        super().__init__()
        self.in_feature = in_feature
        self.classifier = nn.Conv2d(embed_dim, num_classes, kernel_size=1)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Maps (B, C, h, w) by stage name to scores (B, K, h, w)."""
        return self.classifier(features[self.in_feature])
