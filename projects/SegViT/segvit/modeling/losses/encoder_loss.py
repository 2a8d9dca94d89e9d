"""`EncoderLoss`: cross-entropy of a linear classifier of an encoder's tokens, a second signal for the encoder (ours).

Class queries have to learn what to look for before their masks teach the encoder anything. A linear classifier needs no
such time. It is an auxiliary loss as in PSPNet (Zhao et al. 2017, section 3.3): training alone reads it.

Shape shorthand: B images, h x w grid, C width of the stage, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from segvit.modeling.losses.pixel_cross_entropy import PixelCrossEntropy
from segvit.modeling.losses.targets import LossCounts, LossNormalizers, MaskTargets
from segvit.modeling.token_reduction.token_set import Stage, TokenSet, restore_nearest, stage_grid, stage_tokens
from segvit.modeling.tokens import tokens_to_map

# The names of its tensors in a checkpoint, which no prediction needs.
TENSOR = re.compile(r"^encoder_loss\.")


class EncoderLoss(nn.Module):
    """Softmax cross-entropy of every labelled pixel, from the tokens of one stage.

    Args:
        in_feature: name of the stage.
        in_dim: C.
        num_classes: K.
        weight: factor of the loss.
        stride: compute the loss on every n-th row and column of the labels.
        weights_by_class: (K,) weight of the pixels of each class; by default all count alike.
        has_background: pixels of no class are a class of their own, of weight 1, and have part in the loss.
    """

    def __init__(
        self,
        *,
        in_feature: str,
        in_dim: int,
        num_classes: int,
        weight: float,
        stride: int = 1,
        weights_by_class: Sequence[float] | None = None,
        has_background: bool = False,
    ) -> None:
        super().__init__()
        self.in_feature = in_feature
        if weights_by_class is not None and has_background:
            weights_by_class = [*weights_by_class, 1.0]
        self.classifier = nn.Linear(in_dim, num_classes + has_background)
        self.cross_entropy = PixelCrossEntropy(
            weight=weight,
            stride=stride,
            weights_by_class=weights_by_class,
            background_id=num_classes if has_background else None,
        )

    def forward(
        self, features: Mapping[str, Stage], targets: list[MaskTargets], normalizers: LossNormalizers
    ) -> torch.Tensor:
        """The weighted loss of a batch, a scalar attached to the graph for any labels.

        Args:
            features: stage name -> (B, C, h, w), or the `TokenSet` that Shrunk++ leaves.
            targets: one per image. Pixels of no class have no part in the loss, unless they are a class of their own.
            normalizers: the divisor "loss_encoder".
        """
        stage = features[self.in_feature]
        # Classify the tokens; a dropped one gets the logits of its neighbour.
        logits = self.classifier(stage_tokens(stage)[0])
        if isinstance(stage, TokenSet):
            logits = restore_nearest(logits, stage, stage.grid)
        maps = tokens_to_map(logits, stage_grid(stage))  # (B, K, h, w)
        # Compare them, interpolated, with the labels.
        divisor = {"loss_ce": normalizers["loss_encoder"]}
        return self.cross_entropy({"pred_masks": maps, "aux_outputs": []}, targets, divisor)["loss_ce"]

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """The number of labelled pixels in a batch, or their weight."""
        return {"loss_encoder": self.cross_entropy.loss_counts(targets)["loss_ce"]}
