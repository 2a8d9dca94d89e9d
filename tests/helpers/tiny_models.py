"""`tiny_config`, variants of it, and models of them with random weights.

Shape shorthand: K classes.
"""

import torch
from detectron2.modeling import build_model

from segvit.d2 import get_segvit_cfg

IGNORED = 255


def tiny_config():
    """Three blocks of width 48 on 8 x 8 patches, two stages, K = 5; trained at 32 x 48."""
    cfg = get_segvit_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [120.0, 115.0, 105.0], [60.0, 57.0, 58.0]
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 5, IGNORED
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block1"]
    vit, segvit = cfg.MODEL.VIT, cfg.MODEL.SEGVIT
    vit.NAME, vit.IMG_SIZE, vit.OUT_INDICES = "vit_tiny_patch16_224", [32, 48], [1, 2]
    vit.PATCH_SIZE, vit.EMBED_DIM, vit.DEPTH, vit.NUM_HEADS = 8, 48, 3, 3
    vit.INIT_STD, vit.DROP_PATH_RATE = 0.15, 0.0
    segvit.HIDDEN_DIM, segvit.NUM_HEADS, segvit.NUM_LAYERS = 24, 2, 1
    segvit.INIT_STD, segvit.DROPOUT = 0.2, 0.0
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (32,), 48
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 0, 4096
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [32, 48]
    return cfg


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
