"""`MatchedCriterion`: losses of queries that are matched to the masks of an image, as EoMT's are.

Differs from the paper in that masks are compared at all pixels of the strided labels, not at sampled points.

Shape shorthand: B images, H x W pixels, h x w grid, Q queries, K classes, m masks of an image, P pixels that count.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from segvit.errors import ArgumentError
from segvit.experiments.encoder_only.matching import LossWeights, match, matching_costs
from segvit.modeling.decoder.outputs import DecoderOutputs, StageOutputs
from segvit.modeling.losses.targets import (
    IGNORED,
    LossCounts,
    LossNormalizers,
    MaskTargets,
    mean_over_processes,
    subsample_labels,
)

NAMES = ("loss_ce", "loss_mask", "loss_dice")


class MatchedCriterion(nn.Module):
    """Class cross-entropy over all queries; cross-entropy and dice loss over the masks of matched queries.

    Every stage is matched by itself and has the same losses, in float32 under any autocast.

    Args:
        num_classes: K.
        num_queries: Q, at least K.
        no_object_weight: weight of "no object", the target of the queries without a mask.
        exclude_ignored_pixels: leave ignored pixels out; False counts them as negatives of every mask.
        mask_stride: compare masks on every n-th row and column of the labels.
        weights: factors of the losses.

    Attributes:
        output_modes: the modes of `SemanticInference` that fit.

    Raises:
        ArgumentError: there are fewer queries than classes.
    """

    output_modes = ("mix",)

    class_weights: torch.Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        num_queries: int,
        no_object_weight: float = 0.1,
        exclude_ignored_pixels: bool = False,
        mask_stride: int = 1,
        weights: LossWeights = LossWeights(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__()
        if num_queries < num_classes:
            raise ArgumentError("num_queries", f"{num_queries} must be at least the number of classes, {num_classes}")
        self.num_classes = num_classes
        self.num_queries = num_queries
        self.no_object_weight = no_object_weight
        self.exclude_ignored_pixels = exclude_ignored_pixels
        self.mask_stride = mask_stride
        self.weights = weights
        class_weights = torch.tensor([*[1.0] * num_classes, no_object_weight])
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(
        self, outputs: DecoderOutputs, targets: list[MaskTargets], normalizers: LossNormalizers | None = None
    ) -> dict[str, torch.Tensor]:
        """Weighted losses of one batch.

        Args:
            outputs: of `EncoderOnlyDecoder`.
            targets: B images; all label maps (H, W) have one size, which the grid covers.
            normalizers: see `SegViTCriterion.forward`.

        Returns:
            "loss_ce", "loss_mask", "loss_dice" of the last stage, and the same with "_<s>" for auxiliary stage s.
        """
        device = outputs["pred_masks"].device
        normalizers = normalizers or mean_over_processes(self.loss_counts(targets), device)
        factors = dict(zip(NAMES, (self.weights.classes, self.weights.cross_entropy, self.weights.dice), strict=True))
        losses: dict[str, torch.Tensor] = {}
        with torch.autocast(device.type, enabled=False):
            for suffix, stage in self._stages(outputs).items():
                sums = dict(zip(NAMES, self._summed_losses(stage, targets), strict=True))
                losses |= {name + suffix: factors[name] * sums[name] / normalizers[name] for name in NAMES}
        return losses

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """The weights of all queries in a batch, and the number of its masks; every mask gets a query."""
        masks = float(sum(len(target.classes) for target in targets))
        unmatched = len(targets) * self.num_queries - masks
        return {"loss_ce": masks + self.no_object_weight * unmatched, "loss_mask": masks, "loss_dice": masks}

    @staticmethod
    def _stages(outputs: DecoderOutputs) -> dict[str, StageOutputs]:
        """The last stage and the auxiliary ones by the suffix of their losses."""
        stages: dict[str, StageOutputs] = {"": outputs}
        for index, stage in enumerate(outputs["aux_outputs"]):
            if "pred_logits" in stage:
                stages[f"_{index}"] = stage
        return stages

    def _summed_losses(self, stage: StageOutputs, targets: list[MaskTargets]) -> list[torch.Tensor]:
        """The three losses, summed over the images."""
        per_image = [
            torch.stack(self._image_losses(class_logits.float(), mask_logits.float(), target))
            for class_logits, mask_logits, target in zip(
                stage["pred_logits"], stage["pred_masks"], targets, strict=True
            )
        ]
        return list(torch.stack(per_image).sum(dim=0).unbind())

    def _image_losses(
        self, class_logits: torch.Tensor, mask_logits: torch.Tensor, target: MaskTargets
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The sums over queries (Q, K + 1) and over matched masks of (Q, h, w) logits."""
        # Masks and their logits at the pixels that count.
        labels = subsample_labels(target.labels, self.mask_stride)
        classes = target.classes.to(labels.device)
        upsampled = F.interpolate(mask_logits[None], size=labels.shape, mode="bilinear", align_corners=False)[0]
        counted = labels != IGNORED if self.exclude_ignored_pixels else torch.ones_like(labels, dtype=torch.bool)
        logits, labels = upsampled[:, counted], labels[counted]  # (Q, P), (P,)
        masks = (labels == classes[:, None]).float()  # (m, P)

        # The query of each mask; the others are to say "no object".
        queries = match(matching_costs(class_logits, logits, classes, masks, self.weights))
        expected = torch.full((self.num_queries,), self.num_classes, device=labels.device)
        expected[queries] = classes
        class_loss = F.cross_entropy(class_logits, expected, self.class_weights, reduction="sum")

        # Cross-entropy and dice loss of the matched masks.
        matched = logits[queries]
        mask_loss = F.binary_cross_entropy_with_logits(matched, masks, reduction="sum") / max(masks.shape[1], 1)
        inside = matched.sigmoid()
        overlap = 2 * (inside * masks).sum(dim=1) + 1
        dice_loss = (1 - overlap / (inside.sum(dim=1) + masks.sum(dim=1) + 1)).sum()
        return class_loss, mask_loss, dice_loss
