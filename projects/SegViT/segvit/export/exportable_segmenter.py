"""A whole model as one graph that can be exported: raw images in, scores or labels out.

Shape shorthand: B images, H x W pixels, P patch, K classes.
"""

from __future__ import annotations

import torch
from torch import nn


class ExportableSegmenter(nn.Module):
    """Normalise, pad, encode, decode and cut back, for batches of images of one size, without a branch on that size.

    Args:
        backbone: normalised images to named stages.
        sem_seg_head: stages to class and mask logits.
        semantic_inference: those and a size to scores.
        pixel_mean, pixel_std: (3, 1, 1).
        patch_size: P; images are padded, inside, to multiples of it.
        gives_labels: give the winning classes in place of the scores.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        sem_seg_head: nn.Module,
        semantic_inference: nn.Module,
        pixel_mean: torch.Tensor,
        pixel_std: torch.Tensor,
        patch_size: int,
        gives_labels: bool,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.semantic_inference = semantic_inference
        self.patch_size = patch_size
        self.gives_labels = gives_labels
        self.register_buffer("pixel_mean", pixel_mean)
        self.register_buffer("pixel_std", pixel_std)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8, in the order of INPUT.FORMAT -> (B, K, H, W) float32 or (B, H, W) int64."""
        height, width, patch = images.shape[2], images.shape[3], self.patch_size
        size = ((height + patch - 1) // patch * patch, (width + patch - 1) // patch * patch)
        features = self.backbone(self._padded(images, size))
        scores = self.semantic_inference(self.sem_seg_head(features), size)
        result = scores.argmax(dim=1) if self.gives_labels else scores
        # Slices would compare the two sizes, and an exporter would take the comparison for a condition on the image.
        rows, columns = (torch.arange(length, device=images.device) for length in (height, width))
        return result.index_select(-2, rows).index_select(-1, columns)

    def _padded(self, images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Normalised, with zeros at the bottom and right; by indices, as `F.pad` asks whether there is any padding."""
        height, width = images.shape[2], images.shape[3]
        rows, columns = (torch.arange(length, device=images.device) for length in size)
        pixels = images.index_select(2, rows.clamp(max=height - 1)).index_select(3, columns.clamp(max=width - 1))
        inside = (rows < height)[:, None] & (columns < width)
        return torch.where(inside, (pixels - self.pixel_mean) / self.pixel_std, 0.0)
