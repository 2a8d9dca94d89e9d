"""`PixelCrossEntropy`: cross-entropy of every labelled pixel, for per-pixel classifiers and v1's ablation of losses.

Shape shorthand: B images, H x W pixels, h x w grid, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.decoder.outputs import DecoderOutputs, MaskOutputs, PixelOutputs, StageOutputs
from segvit.modeling.losses.targets import (
    BACKGROUND,
    IGNORED,
    LossCounts,
    LossNormalizers,
    MaskTargets,
    mean_over_processes,
    subsample_labels,
)


class PixelCrossEntropy(nn.Module):
    """Softmax cross-entropy over the classes of each pixel, with "pred_masks" as logits.

    Every stage has the same loss. Losses are computed in float32 under any autocast, as weighted means over the
    labelled pixels of the batch; every call returns the same keys, attached to the graph, for any labels.

    Args:
        weight: factor of the loss.
        stride: compute the loss on every n-th row and column of the labels.
        weights_by_class: (K,) weight of the pixels of each class; by default all count alike.
        background_id: the class among the K of pixels without a class; None leaves them out.

    Attributes:
        output_modes: the modes of `SemanticInference` that fit masks trained by this loss.
    """

    output_modes = ("softmax",)

    class_weights: torch.Tensor | None

    def __init__(
        self,
        *,
        weight: float = 1.0,
        stride: int = 1,
        weights_by_class: Sequence[float] | None = None,
        background_id: int | None = None,
    ) -> None:
        super().__init__()
        class_weights = None if weights_by_class is None else torch.tensor(list(weights_by_class))
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.weight = weight
        self.stride = stride
        self.background_id = background_id

    def forward(
        self,
        outputs: DecoderOutputs | PixelOutputs,
        targets: list[MaskTargets],
        normalizers: LossNormalizers | None = None,
    ) -> dict[str, torch.Tensor]:
        """Weighted losses of one batch.

        Args:
            outputs: of a decoder or a per-pixel head. "pred_logits" are not trained.
            targets: B images; all label maps (H, W) have one size, which the grid covers.
            normalizers: see `SegViTCriterion.forward`.

        Returns:
            "loss_ce" of the last stage, and "loss_ce_<s>" for auxiliary stage s.
        """
        labels = self._labels(targets)  # (B, H / stride, W / stride)
        normalizers = normalizers or mean_over_processes(self.loss_counts(targets), labels.device)
        names = ["loss_ce", *(f"loss_ce_{index}" for index in range(len(outputs["aux_outputs"])))]
        stages: list[StageOutputs | MaskOutputs | PixelOutputs] = [outputs, *outputs["aux_outputs"]]
        with torch.autocast(labels.device.type, enabled=False):
            return {
                name: self.weight * self._summed_loss(stage, labels) / normalizers["loss_ce"]
                for name, stage in zip(names, stages, strict=True)
            }

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """The number of labelled pixels in a batch, or their weight."""
        labels = self._labels(targets)
        if self.class_weights is None:
            return {"loss_ce": (labels >= 0).sum()}
        return {"loss_ce": (self.class_weights[labels.clamp(min=0)] * (labels >= 0)).sum()}

    def _labels(self, targets: list[MaskTargets]) -> torch.Tensor:
        labels = subsample_labels(torch.stack([target.labels for target in targets]), self.stride)
        return labels if self.background_id is None else labels.masked_fill(labels == BACKGROUND, self.background_id)

    def _summed_loss(self, outputs: StageOutputs | MaskOutputs | PixelOutputs, labels: torch.Tensor) -> torch.Tensor:
        logits = F.interpolate(
            outputs["pred_masks"].float(), size=labels.shape[1:], mode="bilinear", align_corners=False
        )
        classes = labels.where(labels >= 0, IGNORED)  # also background that is no class here
        loss = F.cross_entropy(logits, classes, self.class_weights, ignore_index=IGNORED, reduction="sum")
        # DistributedDataParallel needs a gradient for every parameter: class logits get one of zero.
        return loss + 0 * outputs["pred_logits"].float().sum() if "pred_logits" in outputs else loss
