"""`DensePredictor`: any encoder, head and ending as one module, from normalized images to scores or labels.

SegViT itself is `segvit.modeling.SegViT`; this also takes the baselines' heads, and endings that return labels.

Shape shorthand: B images, H x W pixels, K classes, h x w grid of tokens.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class DensePredictor(nn.Module):
    """Encoder, head and inference; the three may be shared with other predictors.

    Args:
        backbone: (B, 3, H, W) to a dict of named maps (B, C, h, w).
        sem_seg_head: such a dict to anything that `inference` takes.
        inference: the head's output and the size (H, W) to scores (B, K, H, W).
    """

    def __init__(self, *, backbone: nn.Module, sem_seg_head: nn.Module, inference: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.inference = inference

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images to (B, K, H, W) scores."""
        height, width = images.shape[-2:]
        return self.inference(self.sem_seg_head(self.backbone(images)), (height, width))


class BilinearUpsampling(nn.Module):
    """Inference of a per-pixel linear head."""

    def forward(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, K, h, w) to (B, K, *size)."""
        return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
