"""`EncoderOnlyHead`: EoMT's way (arXiv 2503.19108) as a Detectron2 head, for comparisons with other heads.

The backbone ends before the last blocks (MODEL.VIT.OUT_INDICES), and this head has them, with the queries. The backbone
and the head together are the encoder that MODEL.VIT describes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import nn

from segvit.assembly.backbone import PlainViT
from segvit.assembly.configurable import configurable
from segvit.assembly.heads.decoder_keys import head_stages
from segvit.errors import UserError
from segvit.experiments.backbone_comparison import depth_of
from segvit.experiments.cached_run import merge
from segvit.experiments.encoder_only.decoder import EncoderOnlyDecoder
from segvit.experiments.encoder_only.matched_criterion import MatchedCriterion
from segvit.modeling.decoder.outputs import DecoderOutputs
from segvit.modeling.encoder.attention_positions import AbsolutePositions
from segvit.modeling.encoder.stage_shape import StageShape
from segvit.modeling.encoder.vit_encoder import PlainViTEncoder
from segvit.modeling.losses.targets import LossCounts, LossNormalizers, MaskTargets
from segvit.modeling.training_outputs import ReturnsMoreInTraining

# Queries, as in EoMT's models for semantic segmentation; more if there are more classes.
NUM_QUERIES = 100
# Pixels per cell of the masks, as in EoMT.
MASK_STRIDE = 4


class EncoderOnlyHead(ReturnsMoreInTraining, nn.Module):
    """The stage before the last blocks to losses in training, to class and mask logits of queries in inference.

    Args:
        in_feature: name of that stage.
        decoder: the last blocks, with queries.
        criterion: their outputs and targets to weighted losses.
    """

    needs_frozen_backbone = False

    @configurable
    def __init__(self, *, in_feature: str, decoder: EncoderOnlyDecoder, criterion: MatchedCriterion) -> None:
        super().__init__()
        self.in_feature = in_feature
        self.decoder = decoder
        self.criterion = criterion
        self.output_modes = criterion.output_modes

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, StageShape]) -> dict[str, Any]:
        in_feature, *others = head_stages(cfg, input_shape)
        if others:
            raise UserError("MODEL.SEM_SEG_HEAD.IN_FEATURES: EncoderOnlyHead reads one stage, before the last blocks")
        if cfg.MODEL.SEGVIT.CLASS_WEIGHTS:
            raise UserError("MODEL.SEGVIT.CLASS_WEIGHTS: the losses of EncoderOnlyHead have none; leave it empty")
        num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        num_queries = max(NUM_QUERIES, num_classes)
        encoder = whole_encoder(cfg)
        decoder = EncoderOnlyDecoder(
            blocks=encoder.blocks[int(in_feature.removeprefix("block")) + 1 :],
            norm=encoder.norm,
            embed_dim=encoder.embed_dim,
            num_queries=num_queries,
            num_classes=num_classes,
            num_upsamplings=round(math.log2((input_shape[in_feature].stride or MASK_STRIDE) / MASK_STRIDE)),
            num_iterations=cfg.SOLVER.MAX_ITER,
        )
        criterion = MatchedCriterion(
            num_classes=num_classes,
            num_queries=num_queries,
            no_object_weight=cfg.MODEL.SEGVIT.NO_OBJECT_WEIGHT,
            exclude_ignored_pixels=cfg.MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS,
            mask_stride=cfg.MODEL.SEGVIT.MASK_LOSS_STRIDE,
        )
        return {"in_feature": in_feature, "decoder": decoder, "criterion": criterion}

    def forward(
        self,
        features: dict[str, torch.Tensor],
        targets: list[MaskTargets] | None = None,
        normalizers: LossNormalizers | None = None,
    ) -> DecoderOutputs | dict[str, torch.Tensor]:
        """Decode the stage.

        Args:
            features: stage name -> (B, C, h, w).
            targets: one per image, in training.
            normalizers: the divisors of the losses (see `SegViTCriterion.forward`).

        Returns:
            In training the weighted losses (see the criterion), else the logits (see `EncoderOnlyDecoder`).
        """
        outputs = self.decoder(features[self.in_feature])
        return self.criterion(outputs, targets or [], normalizers) if self.training else outputs

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """What the losses of a batch are divided by (see `loss_normalizers`)."""
        return self.criterion.loss_counts(targets)


def whole_encoder(cfg: CfgNode) -> PlainViTEncoder:
    """The encoder of a config with all its blocks, and their final norm. Raises UserError if queries do not fit it."""
    if cfg.MODEL.VIT.FROZEN or cfg.MODEL.VIT.REDUCTION != "none":
        raise UserError("EncoderOnlyHead trains the last blocks on all tokens: MODEL.VIT.FROZEN or REDUCTION is set")
    depth = depth_of(cfg)
    encoder = PlainViT(merge(cfg, {"MODEL.VIT.OUT_INDICES": [depth - 1], "MODEL.VIT.FINAL_NORM": True})).encoder
    if encoder.embedding.num_prefix_tokens or not isinstance(encoder.positions, AbsolutePositions):
        raise UserError(
            f"MODEL.VIT.NAME {cfg.MODEL.VIT.NAME!r}: EncoderOnlyHead needs blocks without position arguments, and "
            "MODEL.VIT.KEEP_PREFIX_TOKENS False"
        )
    return encoder


SEM_SEG_HEADS_REGISTRY.register(EncoderOnlyHead)
