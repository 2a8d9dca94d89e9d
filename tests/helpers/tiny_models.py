"""Variants of the config `tiny_cfg`, and models of them with random weights."""

import torch
from detectron2.modeling import build_model


def build(cfg):
    """A model in evaluation mode, with the same weights at every call."""
    torch.manual_seed(0)
    return build_model(cfg).eval()


@torch.no_grad()
def segment(model, *inputs):
    """The scores (K, H, W) of each input."""
    return [result["sem_seg"] for result in model(list(inputs))]


def without_labels(inputs, **output_size):
    """Inputs of evaluation: the image, and `height` and `width` of an output of another size."""
    return {"image": inputs["image"], **output_size}


def use_windows(cfg, **settings):
    """Evaluate by windows of the training size; `settings` are other values of TEST.WINDOW."""
    window = cfg.TEST.WINDOW
    window.ENABLED = True
    for key, value in ({"SIZE": [32, 48], "STRIDE": [21, 32]} | settings).items():
        window[key] = value


def use_channels(cfg, channels):
    """Images of so many channels of floating-point levels."""
    cfg.INPUT.CHANNELS, cfg.INPUT.LEVELS = channels, "raw"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = channels * [0.5], channels * [0.3]


def use_shrunk_pp(cfg, **edge):
    """Shrunk++ at block 1 of 3, by default with a threshold at the median of random scores.

    Args:
        edge: keys of MODEL.VIT.EDGE.
    """
    vit = cfg.MODEL.VIT
    vit.REDUCTION, vit.REDUCTION_BLOCK, vit.OUT_INDICES = "shrunk++", 1, [0, 2]
    vit.EDGE.THRESHOLD = 0.5
    for key, value in edge.items():
        vit.EDGE[key] = value
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
    cfg.MODEL.SEGVIT.QUERY_UPSAMPLING, cfg.MODEL.SEGVIT.UPSAMPLING_LAYERS = "nearest", 1
