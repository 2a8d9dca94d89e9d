"""SegViT with the Hugging Face Trainer: `Trainer(model=ForTrainer(model), train_dataset=..., args=...).train()`.

Items of the dataset are dicts: "images" (3, H, W) uint8 RGB and "labels" (H, W) int64, all of one size.
"""

import torch
from torch import nn

import segvit


class ForTrainer(nn.Module):
    """A model with the output that the Trainer expects; `self.model.save_pretrained` saves it."""

    def __init__(self, model: segvit.Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        losses = self.model(images, labels)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}
