"""`ExportableSegmenter`: the model as one graph for exporters, raw images to scores or labels.

Shape shorthand: B images, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import torch
from torch import nn

from segvit.modeling import SegViT


class ExportableSegmenter(nn.Module):
    """`SegViT` with a padding that has no branch on the image's size, for batches of images of one size.

    Args:
        model: the network.
        gives_labels: return labels in place of scores.
    """

    def __init__(self, *, model: SegViT, gives_labels: bool) -> None:
        super().__init__()
        self.model = model
        self.gives_labels = gives_labels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W), in the `ImageFormat` of the model -> (B, K, H, W) float32 or (B, H, W) int64."""
        model = self.model
        height, width = images.shape[2], images.shape[3]
        # Normalize and pad to whole patches.
        padded_size = model.padded_size((height, width))
        padded = self._pad((images - model.pixel_mean) / model.pixel_std, padded_size)
        # Encode, decode and score.
        scores = model.inference(model.head(model.encoder(padded)), padded_size)
        result = scores.argmax(dim=1) if self.gives_labels else scores
        # Cut the padding off, by indices: an exporter would take a slice's comparison of sizes for a condition.
        rows, columns = (torch.arange(length, device=images.device) for length in (height, width))
        return result.index_select(-2, rows).index_select(-1, columns)

    def _pad(self, images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Zeros at the bottom and right, by indices: `F.pad` would branch on whether there is any padding."""
        height, width = images.shape[2], images.shape[3]
        rows, columns = (torch.arange(length, device=images.device) for length in size)
        pixels = images.index_select(2, rows.clamp(max=height - 1)).index_select(3, columns.clamp(max=width - 1))
        inside = (rows < height)[:, None] & (columns < width)
        return torch.where(inside, pixels, 0.0)
