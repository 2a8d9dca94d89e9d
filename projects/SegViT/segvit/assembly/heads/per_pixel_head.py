"""`PerPixelHead`: a classifier of every token as a Detectron2 head: baselines of ablations, linear or Segmenter's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from segvit.assembly.configurable import configurable
from segvit.assembly.heads.decoder_keys import STAGE_KEYS, head_stages
from segvit.assembly.heads.loss_keys import build_criterion
from segvit.errors import UserError, renamed_arguments
from segvit.modeling.decoder.decoder_builder import check_stages
from segvit.modeling.decoder.linear_head import LinearHead
from segvit.modeling.decoder.outputs import PixelOutputs
from segvit.modeling.decoder.segmenter_head import SegmenterHead
from segvit.modeling.encoder.stage_shape import StageShape
from segvit.modeling.losses.pixel_cross_entropy import PixelCrossEntropy
from segvit.modeling.losses.targets import LossCounts, LossNormalizers, MaskTargets
from segvit.modeling.training_outputs import ReturnsMoreInTraining

# The values of MODEL.SEGVIT.CLASSIFIER.
CLASSIFIERS: dict[str, type[LinearHead | SegmenterHead]] = {"linear": LinearHead, "segmenter": SegmenterHead}


class PerPixelHead(ReturnsMoreInTraining, nn.Module):
    """One backbone stage to per-pixel class logits, trained by cross-entropy (as in SETR-naive, Zheng et al. 2021).

    Segmenter (Strudel et al. 2021) trains its mask transformer in the same way.

    Args:
        classifier: named stages to class logits (B, K, h, w).
        criterion: these and the targets to the weighted loss.
    """

    needs_frozen_backbone = False

    @configurable
    def __init__(self, *, classifier: LinearHead | SegmenterHead, criterion: PixelCrossEntropy) -> None:
        super().__init__()
        self.classifier = classifier
        self.criterion = criterion
        self.output_modes = criterion.output_modes

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, StageShape]) -> dict[str, Any]:
        in_features = head_stages(cfg, input_shape)
        if len(in_features) != 1:
            raise UserError(f"MODEL.SEM_SEG_HEAD.IN_FEATURES names {in_features}, but PerPixelHead reads one stage")
        with renamed_arguments(**STAGE_KEYS):
            check_stages(in_features, input_shape)
        criterion = build_criterion(cfg, classes=range(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES))
        if not isinstance(criterion, PixelCrossEntropy):
            raise UserError(
                "PerPixelHead predicts no masks: set MODEL.SEGVIT.LOSS 'pixel' and MODEL.SEGVIT.OUTPUT 'softmax'"
            )
        classifier = CLASSIFIERS[cfg.MODEL.SEGVIT.CLASSIFIER](
            in_feature=in_features[0],
            embed_dim=input_shape[in_features[0]].channels,
            num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        )
        return {"classifier": classifier, "criterion": criterion}

    def forward(
        self,
        features: dict[str, torch.Tensor],
        targets: list[MaskTargets] | None = None,
        normalizers: LossNormalizers | None = None,
    ) -> PixelOutputs | dict[str, torch.Tensor]:
        """Classify the tokens of the stage.

        Args:
            features: stage name -> (B, C, h, w).
            targets: one per image, in training.
            normalizers: the divisors of the losses (see `SegViTCriterion.forward`).

        Returns:
            In training the weighted loss (see `PixelCrossEntropy`), else the class logits.
        """
        outputs: PixelOutputs = {"pred_masks": self.classifier(features), "aux_outputs": []}
        return self.criterion(outputs, targets, normalizers) if self.training else outputs

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """What the losses of a batch are divided by (see `loss_normalizers`)."""
        return self.criterion.loss_counts(targets)
