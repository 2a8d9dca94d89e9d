"""SegViT as a Lightning module: `lightning.Trainer(max_epochs=10).fit(SegViTModule(model), loader, val_loader)`."""

import lightning
import torch

import segvit

Batch = tuple[torch.Tensor, torch.Tensor]


class SegViTModule(lightning.LightningModule):
    """Batches are pairs: images (B, 3, H, W) uint8 RGB, and labels (B, H, W) int64."""

    def __init__(self, model: segvit.Model, *, lr: float = 1e-4) -> None:
        super().__init__()
        self.model = model
        self.lr = lr

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        losses = self.model(*batch)
        self.log_dict({f"train/{name}": loss.detach() for name, loss in losses.items()})
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: Batch, index: int) -> None:
        losses = self.model(*batch)
        self.log("val/loss", torch.stack(list(losses.values())).sum(), batch_size=len(batch[0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=0.01)
