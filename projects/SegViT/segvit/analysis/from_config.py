"""Models with random weights from config files, to be counted or timed: no weight file is ever needed."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

import segvit.d2  # noqa: F401  (registers the models)


def build_random_model(cfg: CfgNode, *, device: str = "cpu") -> nn.Module:
    """The config's model in eval mode, its weights random (or absent, on the "meta" device).

    Shrunk++ keeps the share MODEL.VIT.EDGE.SHARE of the tokens, whatever its selection: a random edge head sees no
    edges, and above a threshold every image would keep another number.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    cfg.MODEL.VIT.PRETRAINED = ""
    cfg.MODEL.VIT.EDGE.SELECTION = "topk"
    with torch.device(device):
        return build_model(cfg).eval()
