"""Models with random weights from config files, to be counted or timed: no weight file is ever needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

import segvit.d2  # noqa: F401  (registers the models)
from segvit.d2.config import get_segvit_cfg


def load_config(path: str | Path, opts: Sequence[str] = ()) -> CfgNode:
    """A SegViT config from a YAML file and `KEY VALUE` overrides.

    Raises:
        ValueError: where the file is missing, or the overrides are not pairs of known keys and values.
    """
    if not Path(path).is_file():
        raise ValueError(f"config file {str(path)!r} does not exist")
    flags = [opt for opt in opts[::2] if opt.startswith("-")]
    if flags or len(opts) % 2:
        raise ValueError(f"overrides are KEY VALUE pairs and come after every --flag, not: {' '.join(opts)}")
    cfg = get_segvit_cfg()
    cfg.merge_from_file(str(path))
    try:
        cfg.merge_from_list(list(opts))
    except (AssertionError, KeyError) as error:
        raise ValueError(str(error.args[0])) from error
    return cfg


def build_random_model(cfg: CfgNode, *, device: str = "cpu") -> nn.Module:
    """The config's model in eval mode, its weights random (or absent, on the "meta" device)."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    cfg.MODEL.VIT.PRETRAINED = ""
    with torch.device(device):
        return build_model(cfg).eval()
