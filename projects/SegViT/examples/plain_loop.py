"""SegViT in a plain PyTorch loop that yields the loss on validation images after each epoch."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

import segvit


def train(
    model: segvit.Model, loader: DataLoader, val_loader: DataLoader, *, epochs: int = 10, lr: float = 1e-4
) -> Iterator[float]:
    """Train a model; loaders give images (B, 3, H, W) uint8 RGB and labels (B, H, W) int64."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    for _ in range(epochs):
        model.train()
        for images, labels in loader:
            loss = torch.stack(list(model(images.to(model.device), labels.to(model.device)).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            batches = [model(images.to(model.device), labels.to(model.device)) for images, labels in val_loader]
        yield sum(float(loss) for losses in batches for loss in losses.values()) / len(batches)
