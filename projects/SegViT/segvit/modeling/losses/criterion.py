"""`SegViTCriterion`: the losses of the ATM decoder, without matching: query c learns class c (SegViT v1, section 3.3).

Shape shorthand: B images, H x W pixels, h x w grid, K classes = queries, M masks of present classes, S stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.decoder.outputs import DecoderOutputs, MaskOutputs, StageOutputs
from segvit.modeling.losses.edge_loss import near_boundaries
from segvit.modeling.losses.mask_losses import focal_and_dice_loss
from segvit.modeling.losses.targets import (
    IGNORED,
    LossCounts,
    LossNormalizers,
    MaskTargets,
    mean_over_processes,
    subsample_labels,
)
from segvit.modeling.tokens import send


@dataclass(frozen=True)
class PresentMasks:
    """The masks of all classes present in a batch.

    Attributes:
        queries: (M,) int64, the query of each mask among the B * K of the batch.
        masks: (M, H, W) bool.
        valid: (M, H, W) bool, False at ignored pixels; or None where all pixels count.
        weights: (M,) weights of their classes; or None where all classes count alike.
        boundaries: (M, H, W) bool, True near the boundary of a class; or None where they have no weight.
    """

    queries: torch.Tensor
    masks: torch.Tensor
    valid: torch.Tensor | None
    weights: torch.Tensor | None
    boundaries: torch.Tensor | None


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
        boundary_weight: added to the weight, 1, of pixels near the boundary of a class in the focal loss.
        weights_by_class: (K,) weight of each class, in the class loss where it is present, and in its mask losses; by
            default all classes count alike. The losses are weighted means, so that only ratios of weights matter.

    Attributes:
        output_modes: the modes of `SemanticInference` that fit masks trained by these losses.
        compiled: compute the losses by torch.compile; False unless it is set.
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
        boundary_weight: float = 0.0,
        weights_by_class: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weight_dict = {"loss_ce": class_weight, "loss_mask": focal_weight, "loss_dice": dice_weight}
        self.exclude_ignored_pixels = exclude_ignored_pixels
        self.mask_stride = mask_stride
        self.boundary_weight = boundary_weight
        self.no_object_weight = no_object_weight
        self.compiled = False
        # The host reads them for the loss counts, without waiting for a GPU.
        self.weights_by_class = None if weights_by_class is None else tuple(weights_by_class)
        class_weights = torch.tensor([*(self.weights_by_class or [1.0] * num_classes), no_object_weight])
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
        present = self._present_masks(targets, device)

        # The last stage and the auxiliary ones, by suffix; not all of them have class logits.
        stages: list[StageOutputs | MaskOutputs] = [outputs, *outputs["aux_outputs"]]
        suffixes = ["", *(f"_{index}" for index in range(len(outputs["aux_outputs"])))]
        class_logits: dict[str, torch.Tensor] = {}
        for suffix, stage in zip(suffixes, stages, strict=True):
            if "pred_logits" in stage:
                class_logits[suffix] = stage["pred_logits"]

        # Sums of all stages at once, divided by the normalizers and weighted.
        weighted_losses = _compiled_weighted_losses() if self.compiled else _weighted_losses
        with torch.autocast(device.type, enabled=False):
            weighted = weighted_losses(
                list(class_logits.values()),
                self._target_classes(targets, device),
                self.class_weights,
                mask_sums=self._mask_losses([stage["pred_masks"] for stage in stages], present),
                normalizers=dict(normalizers),
                weights=self.weight_dict,
            )

        losses: dict[str, torch.Tensor] = {}
        for name, values in weighted.items():
            own_suffixes = class_logits if name == "loss_ce" else suffixes
            losses |= {name + suffix: loss for suffix, loss in zip(own_suffixes, values.unbind(), strict=True)}
        return losses

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """The weights of all queries in a batch, and of its masks."""
        number = sum(len(target.classes) for target in targets)
        present = sum(sum(self._weights_of(target.classes)) for target in targets)
        absent = len(targets) * self.num_classes - number
        return {"loss_ce": present + self.no_object_weight * absent, "loss_mask": present, "loss_dice": present}

    def _weights_of(self, classes: torch.Tensor) -> list[float]:
        weights = self.weights_by_class
        return [1.0] * len(classes) if weights is None else [weights[class_id] for class_id in classes.tolist()]

    def _present_masks(self, targets: list[MaskTargets], device: torch.device) -> PresentMasks:
        counts = [len(target.classes) for target in targets]
        classes = torch.cat([target.classes for target in targets])
        weights = None if self.weights_by_class is None else send(torch.tensor(self._weights_of(classes)), device)
        images = torch.repeat_interleave(torch.tensor(counts))
        images, classes, queries = send(torch.stack([images, classes, images * self.num_classes + classes]), device)
        labels = [subsample_labels(target.labels, self.mask_stride) for target in targets]
        masks = torch.cat([label == own[:, None, None] for label, own in zip(labels, classes.split(counts))])
        valid = (torch.stack(labels) != IGNORED)[images] if self.exclude_ignored_pixels else None
        boundaries = near_boundaries(torch.stack(labels))[images] if self.boundary_weight else None
        return PresentMasks(queries=queries, masks=masks, valid=valid, weights=weights, boundaries=boundaries)

    def _target_classes(self, targets: list[MaskTargets], device: torch.device) -> torch.Tensor:
        """(B, K): the class that each query learns, K for "no object"."""
        target_classes = torch.full((len(targets), self.num_classes), self.num_classes)
        for index, target in enumerate(targets):
            target_classes[index, target.classes] = target.classes
        return send(target_classes, device)

    def _mask_losses(self, logits: list[torch.Tensor], present: PresentMasks) -> dict[str, torch.Tensor]:
        """Mask logits of S stages -> (S,) sums over the masks of present classes.

        No other mask is upsampled: cost grows with M, not with B * K.
        """
        if not len(present.queries):
            zeros = torch.stack([masks.float().sum() * 0 for masks in logits])
            return {"loss_mask": zeros, "loss_dice": zeros}
        sums: list[torch.Tensor] = []
        order: list[int] = []
        # Stages of one grid share a call. A hierarchical encoder has several grids.
        for shape in dict.fromkeys(masks.shape for masks in logits):
            indices = [index for index, masks in enumerate(logits) if masks.shape == shape]
            stacked = torch.stack([logits[index] for index in indices]).flatten(1, 2)
            chosen = stacked.index_select(1, present.queries).float()  # (stages of this grid, M, h, w)
            losses = focal_and_dice_loss(
                chosen,
                present.masks,
                present.valid,
                boundaries=present.boundaries,
                boundary_weight=self.boundary_weight,
                compiled=self.compiled,
            )
            if present.weights is not None:
                losses = losses * present.weights
            sums.append(losses.sum(dim=2))
            order += indices
        if len(sums) == 1:
            focal, dice = sums[0]
        else:
            ordered = [values for _, values in sorted(zip(order, torch.cat(sums, dim=1).unbind(1), strict=True))]
            focal, dice = torch.stack(ordered, dim=1)
        return {"loss_mask": focal, "loss_dice": dice}


def _weighted_losses(
    class_logits: list[torch.Tensor],
    target_classes: torch.Tensor,
    class_weights: torch.Tensor,
    *,
    mask_sums: dict[str, torch.Tensor],
    normalizers: dict[str, torch.Tensor],
    weights: dict[str, float],
) -> dict[str, torch.Tensor]:
    """The losses (S,) of all stages by name.

    Args:
        class_logits: (B, K, K + 1) of each stage that has them.
        target_classes: (B, K).
        class_weights: (K + 1,).
        mask_sums: "loss_mask" and "loss_dice", (S,) each, summed over masks.
        normalizers, weights: by name.
    """
    logits = torch.stack(class_logits).float()  # (S, B, K, K + 1)
    expected = target_classes.expand(len(class_logits), -1, -1)
    per_query = F.cross_entropy(logits.flatten(0, 2), expected.flatten(), class_weights, reduction="none")
    sums = {"loss_ce": per_query.view(len(class_logits), -1).sum(dim=1), **mask_sums}
    return {name: weights[name] * summed / normalizers[name] for name, summed in sums.items()}


@cache
def _compiled_weighted_losses() -> Callable[..., dict[str, torch.Tensor]]:
    return torch.compile(_weighted_losses)
