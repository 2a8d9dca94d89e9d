"""The decoder that MODEL.SEGVIT describes, and the stages that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from yacs.config import CfgNode

from segvit.assembly.detail_keys import configured_detail
from segvit.errors import UserError, renamed_arguments
from segvit.modeling.decoder.atm_decoder import ATMDecoder
from segvit.modeling.decoder.decoder_builder import build_decoder, check_stages
from segvit.modeling.decoder.shrunk_decoder import ShrunkDecoder
from segvit.modeling.encoder.stage_shape import StageShape

# The config keys of the arguments that decide which stages a decoder reads, for error messages.
STAGE_KEYS = {
    "in_features": "MODEL.SEM_SEG_HEAD.IN_FEATURES",
    "in_dims": "MODEL.SEM_SEG_HEAD.IN_FEATURES",
    "query_upsampling": "MODEL.SEGVIT.QUERY_UPSAMPLING",
}


def head_stages(cfg: CfgNode, input_shape: dict[str, StageShape]) -> list[str]:
    """The stages of MODEL.SEM_SEG_HEAD.IN_FEATURES, deepest first. Raises UserError as `require_stages`."""
    in_features = list(cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES)
    require_stages(in_features, input_shape, key="MODEL.SEM_SEG_HEAD.IN_FEATURES")
    return in_features


def require_stages(in_features: list[str], input_shape: dict[str, StageShape], *, key: str) -> None:
    """Raise UserError, naming the config key, if the backbone lacks one of the stages, or a deeper one comes later."""
    missing = [name for name in in_features if name not in input_shape]
    if missing:
        raise UserError(
            f"{key} names {missing}, but the backbone has {sorted(input_shape)}; "
            "make it agree with MODEL.VIT.OUT_INDICES"
        )
    deepest_first = sorted(in_features, key=list(input_shape).index, reverse=True)
    if in_features != deepest_first:
        raise UserError(f"{key} {in_features}: the decoder reads the deepest stage first: set {deepest_first}")


def build_head_decoder(
    cfg: CfgNode,
    input_shape: dict[str, StageShape],
    in_features: list[str],
    *,
    num_classes: int,
    query_upsampling: str = "",
    num_layers: int = 0,
    hidden_dim: int = 0,
    keys: Mapping[str, str] = STAGE_KEYS,
) -> ATMDecoder | ShrunkDecoder:
    """Build the decoder that MODEL.SEGVIT describes.

    Args:
        input_shape: the stages of the backbone.
        in_features: the stages that the decoder reads, deepest first.
        num_classes: number of class queries.
        query_upsampling, num_layers, hidden_dim: in place of the keys of MODEL.SEGVIT, unless empty or 0. Another
            width has heads as wide as those of MODEL.SEGVIT.
        keys: the config keys of the stages and of the up-sampling, for error messages.

    Raises:
        UserError: if these do not fit together.
    """
    segvit = cfg.MODEL.SEGVIT
    query_upsampling = query_upsampling or segvit.QUERY_UPSAMPLING
    hidden_dim = hidden_dim or segvit.HIDDEN_DIM
    shallowest = input_shape[in_features[-1]]
    own = {"num_heads": "MODEL.SEGVIT.NUM_HEADS", "upsampling_layers": "MODEL.SEGVIT.UPSAMPLING_LAYERS"}
    with renamed_arguments(**keys, **own):
        check_stages(in_features, input_shape, query_upsampling=query_upsampling)
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
            detail=configured_detail(cfg, input_shape, in_features),
        )


class BlockSettings(TypedDict):
    """Width of an attention head, dropout rate and standard deviation of the initial weights."""

    head_dim: int
    dropout: float
    init_std: float


def block_settings(cfg: CfgNode) -> BlockSettings:
    """Those of the decoder of MODEL.SEGVIT, for other blocks beside it."""
    segvit = cfg.MODEL.SEGVIT
    return {"head_dim": segvit.HIDDEN_DIM // segvit.NUM_HEADS, "dropout": segvit.DROPOUT, "init_std": segvit.INIT_STD}
