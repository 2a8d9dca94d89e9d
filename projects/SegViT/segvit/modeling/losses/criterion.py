"""`SegViTCriterion`: the losses of the ATM decoder, without matching: query c learns class c (SegViT v1, section 3.3).

Shape shorthand: B images, H x W pixels, h x w grid, K classes = queries, M masks of present classes in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.decoder.outputs import DecoderOutputs, MaskOutputs, StageOutputs
from segvit.modeling.losses.mask_losses import focal_and_dice_loss
from segvit.modeling.losses.targets import (
    IGNORED,
    LossCounts,
    LossNormalizers,
    MaskTargets,
    mean_over_processes,
    subsample_labels,
)


@dataclass(frozen=True)
class PresentMasks:
    """The masks of all classes present in a batch.

    Attributes:
        image_indices, classes: (M,) int64, the image and the class of each mask.
        masks: (M, H, W) bool.
        valid: (M, H, W) bool, False at ignored pixels; or None where all pixels count.
    """

    image_indices: torch.Tensor
    classes: torch.Tensor
    masks: torch.Tensor
    valid: torch.Tensor | None


class SegViTCriterion(nn.Module):
    """Class cross-entropy over all queries; focal and dice loss over the masks of the classes that are present.

    Every stage has the same losses. They are computed in float32 under any autocast, and every call returns the same
    keys, attached to the graph, for any labels.

    Args:
        num_classes: K.
        class_weight, focal_weight, dice_weight: factors of the three losses.
        no_object_weight: weight of "no object", the target of the queries whose class is absent.
        exclude_ignored_pixels: leave ignored pixels out of the mask losses; False counts them as negatives of every
            mask, as the official release does.
        mask_stride: compute mask losses on every n-th row and column of the labels.

    Attributes:
        output_modes: the modes of `SemanticInference` that fit masks trained by these losses.
    """

    output_modes = ("mix", "diagonal")

    class_weights: torch.Tensor

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

    def forward(
        self, outputs: DecoderOutputs, targets: list[MaskTargets], normalizers: LossNormalizers | None = None
    ) -> dict[str, torch.Tensor]:
        """Weighted losses of one batch, or of one part of a larger batch.

        Args:
            outputs: of the decoder.
            targets: B images; all label maps (H, W) have one size, which the grid covers.
            normalizers: the divisors of the losses, where this batch is a part of a larger one; by default the
                `loss_counts` of these targets, averaged over all processes.

        Returns:
            "loss_ce", "loss_mask", "loss_dice" of the last stage, and the same with "_<s>" for auxiliary stage s;
            "loss_ce_<s>" only of stages that have class logits of their own.
        """
        device = outputs["pred_masks"].device
        # Normalizers come first: all processes join the all-reduce, also one without any label.
        normalizers = normalizers or mean_over_processes(self.loss_counts(targets), device)
        present = self._present_masks(targets)
        stages: list[StageOutputs | MaskOutputs] = [outputs, *outputs["aux_outputs"]]
        suffixes = ["", *(f"_{index}" for index in range(len(outputs["aux_outputs"])))]
        losses: dict[str, torch.Tensor] = {}
        with torch.autocast(device.type, enabled=False):
            for suffix, stage in zip(suffixes, stages, strict=True):
                sums: dict[str, torch.Tensor] = {}
                if "pred_logits" in stage:
                    sums["loss_ce"] = self._class_loss(stage["pred_logits"].float(), targets)
                sums |= self._mask_losses(stage["pred_masks"].float(), present)
                for name, summed in sums.items():
                    losses[name + suffix] = self.weight_dict[name] * summed / normalizers[name]
        return losses

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """The weight of all queries in a batch, and the number of its masks."""
        present = sum(len(target.classes) for target in targets)
        absent = len(targets) * self.num_classes - present
        return {"loss_ce": present + self.no_object_weight * absent, "loss_mask": present, "loss_dice": present}

    def _present_masks(self, targets: list[MaskTargets]) -> PresentMasks:
        counts = torch.tensor([len(target.classes) for target in targets])
        classes = torch.cat([target.classes for target in targets])
        image_indices = torch.repeat_interleave(counts).to(classes.device)
        labels = [subsample_labels(target.labels, self.mask_stride) for target in targets]
        masks = torch.cat([label == target.classes[:, None, None] for label, target in zip(labels, targets)])
        valid = (torch.stack(labels) != IGNORED)[image_indices] if self.exclude_ignored_pixels else None
        return PresentMasks(image_indices=image_indices, classes=classes, masks=masks, valid=valid)

    def _class_loss(self, pred_logits: torch.Tensor, targets: list[MaskTargets]) -> torch.Tensor:
        target_classes = torch.full(pred_logits.shape[:2], self.num_classes, device=pred_logits.device)  # "no object"
        for index, target in enumerate(targets):
            target_classes[index, target.classes] = target.classes
        return F.cross_entropy(pred_logits.flatten(0, 1), target_classes.flatten(), self.class_weights, reduction="sum")

    def _mask_losses(self, pred_masks: torch.Tensor, present: PresentMasks) -> dict[str, torch.Tensor]:
        """Sums over the masks of present classes. No other mask is upsampled: cost grows with M, not with B * K."""
        if not len(present.classes):
            zero = pred_masks.sum() * 0
            return {"loss_mask": zero, "loss_dice": zero}
        logits = pred_masks[present.image_indices, present.classes]  # (M, h, w)
        focal, dice = focal_and_dice_loss(logits, present.masks, present.valid)
        return {"loss_mask": focal.sum(), "loss_dice": dice.sum()}
