"""`encoder_weights`: the timm model of a config and the weights that it starts from."""

from __future__ import annotations

from typing import TypedDict

from timm.models import split_model_name_tag
from yacs.config import CfgNode


class EncoderWeights(TypedDict):
    """Arguments of the encoders' constructors."""

    name: str
    pretrained: str
    pretrained_min_match: float


def encoder_weights(cfg: CfgNode) -> EncoderWeights:
    """The timm model and its weights; none if MODEL.WEIGHTS holds those of the whole model."""
    vit = cfg.MODEL.VIT
    filled = bool(cfg.MODEL.WEIGHTS)
    return {
        "name": split_model_name_tag(vit.NAME)[0] if filled else vit.NAME,
        "pretrained": "" if filled else vit.PRETRAINED,
        "pretrained_min_match": vit.PRETRAINED_MIN_MATCH,
    }


def without_pretrained(cfg: CfgNode) -> CfgNode:
    """A copy of the config without pre-trained weights of the encoder, for a model that a checkpoint fills."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.VIT.PRETRAINED = ""
    cfg.MODEL.VIT.NAME = split_model_name_tag(cfg.MODEL.VIT.NAME)[0]
    return cfg
