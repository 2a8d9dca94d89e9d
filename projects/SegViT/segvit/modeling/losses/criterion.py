"""Losses of the ATM decoder, without matching: query c answers for class c (SegViT v1, section 3.3).

Shape shorthand: B images, H x W pixels, h x w grid, K classes = queries, M masks of present classes in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.losses.loss_normalizers import normalizers
from segvit.modeling.losses.mask_losses import focal_and_dice_loss
from segvit.modeling.losses.mask_targets import MaskTargets, subsample_labels


@dataclass(frozen=True)
class PresentMasks:
    """The targets of a batch, mask by mask.

    Attributes:
        images, classes: (M,) int64, what each mask is of.
        masks: (M, H, W) bool.
        valid: (M, H, W) bool, or None where all pixels count.
    """

    images: torch.Tensor
    classes: torch.Tensor
    masks: torch.Tensor
    valid: torch.Tensor | None


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
        self.no_object_weight = no_object_weight
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
        divisors = normalizers(self.totals(targets), device)
        present = self._present_masks(targets)
        names = ["", *(f"_{index}" for index in range(len(outputs["aux_outputs"])))]
        losses = {}
        with torch.autocast(device.type, enabled=False):
            for suffix, stage in zip(names, [outputs, *outputs["aux_outputs"]], strict=True):
                sums = {"loss_ce": self._class_loss(stage["pred_logits"].float(), targets)}
                sums |= self._mask_losses(stage["pred_masks"].float(), present)
                losses |= {
                    name + suffix: self.weight_dict[name] * total / divisors[name] for name, total in sums.items()
                }
        return losses

    def totals(self, targets: list[MaskTargets]) -> dict[str, float]:
        """What counts in a batch, by loss: the weight of all queries, and the number of masks (see `normalizers`)."""
        present = sum(len(target.classes) for target in targets)
        absent = len(targets) * self.num_classes - present
        return {"loss_ce": present + self.no_object_weight * absent, "loss_mask": present, "loss_dice": present}

    def _present_masks(self, targets: list[MaskTargets]) -> PresentMasks:
        sizes = torch.tensor([len(target.classes) for target in targets])
        classes = torch.cat([target.classes for target in targets])
        images = torch.repeat_interleave(sizes).to(classes.device)
        valid = None
        if self.exclude_ignored_pixels:
            valid = torch.stack([self._sampled(target.valid) for target in targets])[images]
        masks = torch.cat([self._sampled(target.masks) for target in targets])
        return PresentMasks(images=images, classes=classes, masks=masks, valid=valid)

    def _class_loss(self, pred_logits: torch.Tensor, targets: list[MaskTargets]) -> torch.Tensor:
        wanted = torch.full(pred_logits.shape[:2], self.num_classes, device=pred_logits.device)  # "no object"
        for image, target in enumerate(targets):
            wanted[image, target.classes] = target.classes
        return F.cross_entropy(pred_logits.flatten(0, 1), wanted.flatten(), self.class_weights, reduction="sum")

    def _mask_losses(self, pred_masks: torch.Tensor, present: PresentMasks) -> dict[str, torch.Tensor]:
        """Only the masks of present classes are upsampled: cost follows M, not B * K."""
        if not len(present.classes):
            nothing = pred_masks.sum() * 0
            return {"loss_mask": nothing, "loss_dice": nothing}
        logits = pred_masks[present.images, present.classes]  # (M, h, w)
        focal, dice = focal_and_dice_loss(logits, present.masks, present.valid)
        return {"loss_mask": focal.sum(), "loss_dice": dice.sum()}

    def _sampled(self, label_map: torch.Tensor) -> torch.Tensor:
        return subsample_labels(label_map, self.mask_stride)
