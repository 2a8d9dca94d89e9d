"""Losses of the ATM decoder, without matching: query c answers for class c (SegViT v1, section 3.3).

Shape shorthand: B images, H x W pixels, h x w grid, K classes = queries, M masks of present classes in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from segvit.modeling.mask_losses import dice_loss, focal_loss


@dataclass(frozen=True)
class MaskTargets:
    """What one image asks for.

    Attributes:
        classes: (m,) int64, the classes present, each once.
        masks: (m, H, W) bool, where each of them is.
        valid: (H, W) bool, False where the label is ignored.
    """

    classes: torch.Tensor
    masks: torch.Tensor
    valid: torch.Tensor


class SegViTCriterion(nn.Module):
    """Class cross-entropy over all queries; focal and dice loss over the masks of the classes that are present.

    Every stage is supervised alike. All losses are computed in float32 whatever the autocast, and every call returns
    the same keys, attached to the graph, whatever the labels.

    Args:
        num_classes: K.
        class_weight, focal_weight, dice_weight: factors of the three losses.
        no_object_weight: weight of "no object", the target of the queries whose class is absent.
        exclude_ignored_pixels: give ignored pixels no mask loss; False counts them as negatives of every mask, as
            the official release does.
        mask_stride: compute mask losses on every n-th row and column of the labels.

    Attributes:
        output_modes: the modes of `SemanticInference` that take the masks for what this trains them to be.
    """

    output_modes = ("mix", "diagonal")

    def __init__(
        self,
        *,
        num_classes: int,
        class_weight: float = 1.0,
        focal_weight: float = 20.0,
        dice_weight: float = 1.0,
        no_object_weight: float = 0.1,
        exclude_ignored_pixels: bool = False,
        mask_stride: int = 1,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weight_dict = {"loss_ce": class_weight, "loss_mask": focal_weight, "loss_dice": dice_weight}
        self.exclude_ignored_pixels = exclude_ignored_pixels
        self.mask_stride = mask_stride
        class_weights = torch.ones(num_classes + 1)
        class_weights[-1] = no_object_weight
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, outputs: dict[str, torch.Tensor], targets: list[MaskTargets]) -> dict[str, torch.Tensor]:
        """Weighted losses of one batch.

        Args:
            outputs: "pred_logits" (B, K, K + 1), "pred_masks" (B, K, h, w), and "aux_outputs", a list of the same.
            targets: B images; all label maps of one size, the size that the grid covers.

        Returns:
            "loss_ce", "loss_mask", "loss_dice" of the last stage, and the same with "_<s>" for auxiliary stage s.
        """
        device = outputs["pred_masks"].device
        # Before anything that depends on the labels: every process takes part, whatever it has.
        num_masks = _average_over_processes(sum(len(target.classes) for target in targets), device)
        with torch.autocast(device.type, enabled=False):
            losses = self._stage_losses(outputs, targets, num_masks)
            for index, aux_outputs in enumerate(outputs["aux_outputs"]):
                aux_losses = self._stage_losses(aux_outputs, targets, num_masks)
                losses |= {f"{name}_{index}": loss for name, loss in aux_losses.items()}
        return losses

    def _stage_losses(
        self, outputs: dict[str, torch.Tensor], targets: list[MaskTargets], num_masks: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        losses = {"loss_ce": self._class_loss(outputs["pred_logits"].float(), targets)}
        losses |= self._mask_losses(outputs["pred_masks"], targets, num_masks)
        return {name: loss * self.weight_dict[name] for name, loss in losses.items()}

    def _class_loss(self, pred_logits: torch.Tensor, targets: list[MaskTargets]) -> torch.Tensor:
        wanted = torch.full(pred_logits.shape[:2], self.num_classes, device=pred_logits.device)  # "no object"
        for image, target in enumerate(targets):
            wanted[image, target.classes] = target.classes
        return F.cross_entropy(pred_logits.transpose(1, 2), wanted, self.class_weights)

    def _mask_losses(
        self, pred_masks: torch.Tensor, targets: list[MaskTargets], num_masks: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Only the masks of present classes are upsampled: cost and memory follow M, not B * K."""
        sizes = torch.tensor([len(target.classes) for target in targets])
        if not sizes.any():
            nothing = pred_masks.float().sum() * 0
            return {"loss_mask": nothing, "loss_dice": nothing}
        images = torch.repeat_interleave(sizes).to(pred_masks.device)  # (M,)
        logits = pred_masks[images, torch.cat([target.classes for target in targets])]  # (M, h, w)
        masks = torch.cat([self._sampled(target.masks) for target in targets])  # (M, H / stride, W / stride)
        logits = F.interpolate(logits.float()[None], size=masks.shape[1:], mode="bilinear", align_corners=False)[0]
        masks, logits = masks.flatten(1).float(), logits.flatten(1)
        valid = None
        if self.exclude_ignored_pixels:
            valid = torch.stack([self._sampled(target.valid) for target in targets]).flatten(1).float()[images]
        return {
            "loss_mask": focal_loss(logits, masks, valid).sum() / num_masks,
            "loss_dice": dice_loss(logits, masks, valid).sum() / num_masks,
        }

    def _sampled(self, label_map: torch.Tensor) -> torch.Tensor:
        return sample_labels(label_map, self.mask_stride)


def sample_labels(label_map: torch.Tensor, stride: int) -> torch.Tensor:
    """(..., H, W) -> (..., H / stride, W / stride): the middle of each stride x stride cell, as logits have it.

    Cells of even width have no middle pixel; the one before is taken, half a pixel off.
    """
    middle = (stride - 1) // 2
    top, left = (min(middle, length - 1) for length in label_map.shape[-2:])
    return label_map[..., top::stride, left::stride]


def _average_over_processes(count: int, device: torch.device) -> torch.Tensor:
    """The mean of `count` over all processes, at least 1, so that gradients average to those of one large batch."""
    total = torch.tensor(float(count), device=device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
        total /= dist.get_world_size()
    return total.clamp(min=1)
