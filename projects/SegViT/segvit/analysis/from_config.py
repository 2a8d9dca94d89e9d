"""`build_random_model`: a config's model with random weights, for counting and timing."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from segvit.assembly.encoder_weights import without_pretrained
from segvit.d2 import SegViT
from segvit.modeling.decoder.detail import DetailBranch


def build_random_model(cfg: CfgNode, *, device: str = "cpu") -> SegViT:
    """The config's model in eval mode, with random weights (or none, on the "meta" device); no weight file is read.

    Shrunk++ and cells keep the share MODEL.VIT.EDGE.SHARE of the tokens, whatever MODEL.VIT.EDGE.SELECTION is, and
    merging the share MODEL.VIT.MERGE.SHARE: with random weights, a threshold would mean nothing.
    """
    cfg = without_pretrained(cfg)
    cfg.MODEL.DEVICE = device
    cfg.MODEL.VIT.EDGE.SELECTION = cfg.MODEL.VIT.MERGE.SELECTION = "topk"
    with torch.device(device):
        model = build_model(cfg).eval()
    randomize_detail(model)
    return model


def randomize_detail(model: nn.Module) -> None:
    """Let detail branches score pixels; one that has learnt nothing leaves the masks on the coarse grid."""
    for module in model.modules():
        if isinstance(module, DetailBranch):
            nn.init.normal_(module.query_proj.weight, std=0.02)
