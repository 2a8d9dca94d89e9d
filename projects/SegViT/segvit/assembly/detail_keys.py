"""The detail branch that MODEL.SEGVIT.DETAIL describes: the stage that it reads, and its `DetailConfig`."""

from __future__ import annotations

from collections.abc import Mapping

from yacs.config import CfgNode

from segvit.assembly.stage_shape import StageShape
from segvit.config.keys import config_keys
from segvit.modeling.decoder.detail import DetailConfig, pixel_stage


def configured_pixel_stage(cfg: CfgNode) -> str:
    """The stage of the backbone that the detail branch reads; "" for none."""
    return pixel_stage(cfg.MODEL.SEGVIT.DETAIL.SOURCE, cfg.MODEL.SEGVIT.DETAIL.STRIDE)


def detail_config(cfg: CfgNode, input_shape: Mapping[str, StageShape], in_features: list[str]) -> DetailConfig | None:
    """The detail branch of a decoder of these stages; None for none.

    Raises:
        UserError: for values that do not fit the model.
    """
    detail = cfg.MODEL.SEGVIT.DETAIL
    if detail.SOURCE == "none":
        return None
    strides = [input_shape[name].stride for name in in_features]
    stage = configured_pixel_stage(cfg)
    with config_keys(
        source="MODEL.SEGVIT.DETAIL.SOURCE", dim="MODEL.SEGVIT.DETAIL.DIM", stride="MODEL.SEGVIT.DETAIL.STRIDE"
    ):
        return DetailConfig(
            source=detail.SOURCE,
            dim=detail.DIM,
            stride=detail.STRIDE,
            coarse_stride=min(stride for stride in strides if stride),
            pixel_dim=(input_shape[stage].channels or 0) if stage else 0,
        )
