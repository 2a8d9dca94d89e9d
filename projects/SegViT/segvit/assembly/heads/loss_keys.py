"""The losses that MODEL.SEGVIT describes, and the inference from masks that they train."""

from __future__ import annotations

from collections.abc import Sequence

from yacs.config import CfgNode

from segvit.assembly.heads.class_weights import class_weights
from segvit.assembly.heads.decoder_keys import head_stages
from segvit.errors import UserError, renamed_arguments
from segvit.modeling.encoder.stage_shape import StageShape
from segvit.modeling.losses.criterion import SegViTCriterion
from segvit.modeling.losses.edge_loss import EdgeLoss
from segvit.modeling.losses.encoder_loss import EncoderLoss
from segvit.modeling.losses.pixel_cross_entropy import PixelCrossEntropy
from segvit.modeling.postprocessing.semantic_inference import SemanticInference


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
        # The baselines of continual segmentation are trained and evaluated as models of all classes.
        has_background=cfg.MODEL.SEM_SEG_HEAD.NAME == "ContinualHead",
    )


def build_semantic_inference(cfg: CfgNode, output_modes: tuple[str, ...]) -> SemanticInference:
    """Build the inference of MODEL.SEGVIT.OUTPUT. Raises UserError unless it is one of the head's modes."""
    with renamed_arguments(mode="MODEL.SEGVIT.OUTPUT"):
        inference = SemanticInference(cfg.MODEL.SEGVIT.OUTPUT)
    if inference.mode not in output_modes:
        fitting = " or ".join(map(repr, output_modes)) or "no output"
        raise UserError(
            f"MODEL.SEGVIT.OUTPUT {inference.mode!r} does not fit: {cfg.MODEL.SEM_SEG_HEAD.NAME} with "
            f"MODEL.SEGVIT.LOSS {cfg.MODEL.SEGVIT.LOSS!r} trains masks for {fitting}"
        )
    return inference
