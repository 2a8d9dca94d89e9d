"""`AttentionToMaskHead`: an ATM decoder and its losses as a Detectron2 semantic segmentation head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from segvit.assembly.configurable import configurable
from segvit.assembly.detail_keys import pixel_stages
from segvit.assembly.heads.decoder_keys import build_head_decoder, head_stages
from segvit.assembly.heads.loss_keys import build_criterion
from segvit.modeling.decoder.atm_decoder import ATMDecoder
from segvit.modeling.decoder.outputs import DecoderOutputs
from segvit.modeling.decoder.shrunk_decoder import ShrunkDecoder
from segvit.modeling.encoder.stage_shape import StageShape
from segvit.modeling.losses.criterion import SegViTCriterion
from segvit.modeling.losses.pixel_cross_entropy import PixelCrossEntropy
from segvit.modeling.losses.targets import LossCounts, LossNormalizers, MaskTargets
from segvit.modeling.segvit import decode
from segvit.modeling.token_reduction.token_set import Stage
from segvit.modeling.training_outputs import ReturnsMoreInTraining


class AttentionToMaskHead(ReturnsMoreInTraining, nn.Module):
    """Backbone stages to losses in training, to class and mask logits in inference.

    Args:
        in_features: names of the stages that the decoder visits, deepest first.
        decoder: stages to "pred_logits" and "pred_masks".
        criterion: these and the targets to weighted losses.
        pixel_stages: names of the maps that the decoder's detail branch reads, finest first.
    """

    needs_frozen_backbone = False

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        decoder: ATMDecoder | ShrunkDecoder,
        criterion: SegViTCriterion | PixelCrossEntropy,
        pixel_stages: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.pixel_stages = pixel_stages
        self.decoder = decoder
        self.criterion = criterion
        self.output_modes = criterion.output_modes

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, StageShape]) -> dict[str, Any]:
        num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        in_features = head_stages(cfg, input_shape)
        return {
            "in_features": in_features,
            "decoder": build_head_decoder(cfg, input_shape, in_features, num_classes=num_classes),
            "criterion": build_criterion(cfg, classes=range(num_classes)),
            "pixel_stages": pixel_stages(input_shape),
        }

    def forward(
        self,
        features: dict[str, Stage],
        targets: list[MaskTargets] | None = None,
        normalizers: LossNormalizers | None = None,
    ) -> DecoderOutputs | dict[str, torch.Tensor]:
        """Decode the stages.

        Args:
            features: stage name -> (B, C, h, w), or the `TokenSet` that Shrunk++ leaves.
            targets: one per image, in training.
            normalizers: the divisors of the losses (see `SegViTCriterion.forward`).

        Returns:
            In training the weighted losses (see the criterion), else the logits (see `ATMDecoder`).
        """
        outputs = decode(self.decoder, features, self.in_features, self.pixel_stages)
        return self.criterion(outputs, targets, normalizers) if self.training else outputs

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """What the losses of a batch are divided by (see `loss_normalizers`)."""
        return self.criterion.loss_counts(targets)
