"""The detail branch that MODEL.SEGVIT.DETAIL describes: the stage that it reads, and its `DetailConfig`."""

from __future__ import annotations

from collections.abc import Mapping

from yacs.config import CfgNode

from segvit.errors import renamed_arguments
from segvit.modeling.decoder.decoder_builder import detail_config
from segvit.modeling.decoder.detail import DetailConfig, finest_pixel_stage
from segvit.modeling.encoder.stage_shape import StageShape
from segvit.modeling.encoder.token_embedding import is_pixel_stage


def configured_pixel_stage(cfg: CfgNode) -> str:
    """The finest map of pixels that the backbone is to return for the detail branch; "" for none."""
    return finest_pixel_stage(cfg.MODEL.SEGVIT.DETAIL.SOURCE, cfg.MODEL.SEGVIT.DETAIL.STRIDE)


def pixel_stages(input_shape: Mapping[str, StageShape]) -> list[str]:
    """The maps of pixels among the stages of a backbone, finest first."""
    return [name for name in input_shape if is_pixel_stage(name)]


def configured_detail(
    cfg: CfgNode, input_shape: Mapping[str, StageShape], in_features: list[str]
) -> DetailConfig | None:
    """The detail branch of a decoder of these stages; None for none.

    Raises:
        UserError: for values that do not fit the model.
    """
    detail = cfg.MODEL.SEGVIT.DETAIL
    with renamed_arguments(
        source="MODEL.SEGVIT.DETAIL.SOURCE", dim="MODEL.SEGVIT.DETAIL.DIM", stride="MODEL.SEGVIT.DETAIL.STRIDE"
    ):
        return detail_config(in_features, input_shape, source=detail.SOURCE, dim=detail.DIM, stride=detail.STRIDE)
