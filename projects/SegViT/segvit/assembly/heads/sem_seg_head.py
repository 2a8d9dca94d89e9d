"""`AttentionToMaskHead`: an ATM decoder and its losses as a Detectron2 semantic segmentation head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from segvit.assembly.configurable import configurable
from segvit.assembly.detail_keys import detail_config, pixel_stages
from segvit.assembly.heads.class_weights import class_weights
from segvit.assembly.reduction_keys import reduction_config
from segvit.assembly.stage_shape import StageShape
from segvit.config.continual_step import continual_step
from segvit.errors import UserError, renamed_arguments
from segvit.modeling.decoder.atm_decoder import ATMDecoder
from segvit.modeling.decoder.decoder_builder import build_decoder
from segvit.modeling.decoder.outputs import DecoderOutputs
from segvit.modeling.decoder.shrunk_decoder import ShrunkDecoder
from segvit.modeling.losses.criterion import SegViTCriterion
from segvit.modeling.losses.edge_loss import EdgeLoss
from segvit.modeling.losses.encoder_loss import EncoderLoss
from segvit.modeling.losses.pixel_cross_entropy import PixelCrossEntropy
from segvit.modeling.losses.targets import LossCounts, LossNormalizers, MaskTargets
from segvit.modeling.postprocessing.semantic_inference import SemanticInference
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
        outputs = self.decode(features)
        return self.criterion(outputs, targets, normalizers) if self.training else outputs

    def decode(self, features: dict[str, Stage]) -> DecoderOutputs:
        """The decoder's outputs for the stages."""
        return decode(self.decoder, features, self.in_features, self.pixel_stages)

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """What the losses of a batch are divided by (see `loss_normalizers`)."""
        return self.criterion.loss_counts(targets)


def head_stages(cfg: CfgNode, input_shape: dict[str, StageShape]) -> list[str]:
    """The stages of MODEL.SEM_SEG_HEAD.IN_FEATURES, deepest first. Raises UserError if the backbone lacks one."""
    in_features = list(cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES)
    require_stages(in_features, input_shape, key="MODEL.SEM_SEG_HEAD.IN_FEATURES")
    return in_features


def require_stages(in_features: list[str], input_shape: dict[str, StageShape], *, key: str) -> None:
    """Raise UserError, naming the config key, if the backbone lacks one of the stages."""
    missing = [name for name in in_features if name not in input_shape]
    if missing:
        raise UserError(
            f"{key} names {missing}, but the backbone has {sorted(input_shape)}; "
            "make it agree with MODEL.VIT.OUT_INDICES"
        )


def require_maps(names: list[str], input_shape: dict[str, StageShape]) -> None:
    """Raise UserError if one of the stages is not a map, but the set of tokens that Shrunk++ keeps."""
    reduced = [name for name in names if input_shape[name].stride is None]
    if reduced:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.IN_FEATURES: {reduced} come after the reduction of Shrunk++ and are not maps: set "
            "MODEL.SEGVIT.QUERY_UPSAMPLING 'nearest', and end the list with a stage before MODEL.VIT.REDUCTION_BLOCK"
        )


def build_head_decoder(
    cfg: CfgNode,
    input_shape: dict[str, StageShape],
    in_features: list[str],
    *,
    num_classes: int,
    query_upsampling: str = "",
    num_layers: int = 0,
    hidden_dim: int = 0,
) -> ATMDecoder | ShrunkDecoder:
    """Build the decoder that MODEL.SEGVIT describes.

    Args:
        input_shape: the stages of the backbone.
        in_features: the stages that the decoder reads, deepest first.
        num_classes: number of class queries.
        query_upsampling, num_layers, hidden_dim: in place of the keys of MODEL.SEGVIT, unless empty or 0. Another
            width has heads as wide as those of MODEL.SEGVIT.

    Raises:
        UserError: if these do not fit together.
    """
    segvit = cfg.MODEL.SEGVIT
    query_upsampling = query_upsampling or segvit.QUERY_UPSAMPLING
    hidden_dim = hidden_dim or segvit.HIDDEN_DIM
    require_maps(in_features if query_upsampling == "none" else in_features[-1:], input_shape)
    deepest, shallowest = input_shape[in_features[0]], input_shape[in_features[-1]]
    is_reduced = deepest.stride != shallowest.stride or reduction_config(cfg.MODEL.VIT) is not None
    if query_upsampling == "nearest" and not is_reduced:
        raise UserError(
            "MODEL.SEGVIT.QUERY_UPSAMPLING 'nearest' restores what MODEL.VIT.REDUCTION has dropped, and the stages "
            f"{in_features} lack nothing: set 'none'"
        )
    with renamed_arguments(
        query_upsampling="MODEL.SEGVIT.QUERY_UPSAMPLING",
        in_dims="MODEL.SEM_SEG_HEAD.IN_FEATURES",
        num_heads="MODEL.SEGVIT.NUM_HEADS",
    ):
        return build_decoder(
            in_dims=[input_shape[name].channels for name in in_features],
            grid_size=(shallowest.height or 0, shallowest.width or 0),
            query_upsampling=query_upsampling,
            upsampling_layers=segvit.UPSAMPLING_LAYERS,
            num_classes=num_classes,
            hidden_dim=hidden_dim,
            num_layers=num_layers or segvit.NUM_LAYERS,
            num_heads=hidden_dim * segvit.NUM_HEADS // segvit.HIDDEN_DIM,
            dropout=segvit.DROPOUT,
            init_std=segvit.INIT_STD,
            detail=detail_config(cfg, input_shape, in_features),
        )


def block_settings(cfg: CfgNode) -> dict[str, Any]:
    """Width of an attention head, dropout and init of the decoder of MODEL.SEGVIT, for other blocks beside it."""
    segvit = cfg.MODEL.SEGVIT
    return {"head_dim": segvit.HIDDEN_DIM // segvit.NUM_HEADS, "dropout": segvit.DROPOUT, "init_std": segvit.INIT_STD}


def build_criterion(cfg: CfgNode, *, classes: Sequence[int]) -> SegViTCriterion | PixelCrossEntropy:
    """Build the losses of MODEL.SEGVIT.LOSS for these class ids. Raises UserError for an unknown name."""
    segvit = cfg.MODEL.SEGVIT
    weights = class_weights(cfg)
    weights_by_class = None if weights is None else [weights[class_id] for class_id in classes]
    if segvit.LOSS not in ("mask", "pixel"):
        raise UserError(f"MODEL.SEGVIT.LOSS {segvit.LOSS!r} must be 'mask' or 'pixel'")
    if segvit.LOSS == "pixel":
        return PixelCrossEntropy(
            weight=segvit.CLASS_WEIGHT, stride=segvit.MASK_LOSS_STRIDE, weights_by_class=weights_by_class
        )
    return SegViTCriterion(
        num_classes=len(classes),
        class_weight=segvit.CLASS_WEIGHT,
        focal_weight=segvit.FOCAL_WEIGHT,
        dice_weight=segvit.DICE_WEIGHT,
        no_object_weight=segvit.NO_OBJECT_WEIGHT,
        exclude_ignored_pixels=segvit.EXCLUDE_IGNORED_PIXELS,
        mask_stride=segvit.MASK_LOSS_STRIDE,
        boundary_weight=segvit.BOUNDARY_WEIGHT,
        weights_by_class=weights_by_class,
    )


def build_edge_loss(cfg: CfgNode) -> EdgeLoss:
    """Build the loss of Shrunk++'s edge head."""
    return EdgeLoss(
        ignore_value=cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        weight=cfg.MODEL.SEGVIT.EDGE_WEIGHT,
        edge_weight=cfg.MODEL.SEGVIT.EDGE_CLASS_WEIGHT,
    )


def build_encoder_loss(cfg: CfgNode, input_shape: dict[str, StageShape]) -> EncoderLoss | None:
    """Build the loss of a linear classifier of the deepest stage; None if MODEL.SEGVIT.ENCODER_WEIGHT is 0."""
    segvit = cfg.MODEL.SEGVIT
    if not segvit.ENCODER_WEIGHT:
        return None
    in_feature = head_stages(cfg, input_shape)[0]
    return EncoderLoss(
        in_feature=in_feature,
        in_dim=input_shape[in_feature].channels,
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        weight=segvit.ENCODER_WEIGHT,
        stride=segvit.MASK_LOSS_STRIDE,
        weights_by_class=class_weights(cfg),
        has_background=continual_step(cfg) is not None,
    )


def build_semantic_inference(cfg: CfgNode, output_modes: tuple[str, ...]) -> SemanticInference:
    """Build the inference of MODEL.SEGVIT.OUTPUT. Raises UserError unless it is one of the modes that a loss trains."""
    with renamed_arguments(mode="MODEL.SEGVIT.OUTPUT"):
        inference = SemanticInference(cfg.MODEL.SEGVIT.OUTPUT)
    if inference.mode not in output_modes:
        fitting = " or ".join(map(repr, output_modes)) or "no output"
        raise UserError(
            f"MODEL.SEGVIT.OUTPUT {inference.mode!r} does not fit MODEL.SEGVIT.LOSS, which trains masks for {fitting}"
        )
    return inference
