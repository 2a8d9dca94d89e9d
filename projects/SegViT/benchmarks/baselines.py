"""The models that benchmark.py compares, by name: a config's SegViT, baselines on its encoder, and peers.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, build_sem_seg_head
from PIL import Image
from torch import nn

from dense_predictor import BilinearUpsampling, DensePredictor
from label_endings import Argmax, BandedArgmax, MaskArgmax, SyntheticScene
from peers import PEERS, build_peer
from segvit.analysis.from_config import build_random_model
from segvit.assembly.meta_arch import SegViT
from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.errors import UserError
from segvit.image_reading import read_image
from segvit.modeling.decoder.linear_head import LinearHead
from segvit.modeling.decoder.segmenter_head import SegmenterHead
from segvit.modeling.postprocessing.semantic_inference import SemanticInference

# SegViT with another MODEL.SEGVIT.OUTPUT.
OUTPUTS = ("diagonal", "mix")
# The same encoder with another head.
OTHER_HEADS = ("linear", "linear-bands", "segmenter")
# The config's SegViT without its detail branch.
NO_DETAIL = "no-detail"
VARIANTS = (*OTHER_HEADS, NO_DETAIL, *OUTPUTS)


@dataclass(frozen=True)
class OutputKind:
    """What the compared models return.

    Attributes:
        labels: labels in place of scores.
        label_size: (H, W) of the labels; None for that of the input.
        num_present: classes of the synthetic scene that replaces the output of SegViT's head; 0 for no scene.
    """

    labels: bool = False
    label_size: tuple[int, int] | None = None
    num_present: int = 0

    def segvit(self, backbone: nn.Module, head: nn.Module, inference: SemanticInference) -> DensePredictor:
        """SegViT with this output, in eval mode. Raises UserError for a scene with the output "mix"."""
        if self.num_present:
            if inference.mode != "diagonal":
                raise UserError(
                    f"--present makes a scene for the output 'diagonal', not for {inference.mode!r}: "
                    "set MODEL.SEGVIT.OUTPUT diagonal, and leave other outputs out"
                )
            head = SyntheticScene(head, self.num_present)
        ending: nn.Module = inference
        if self.labels:
            from_masks = inference.mode == "diagonal"
            ending = MaskArgmax(self.label_size) if from_masks else BandedArgmax(inference, self.label_size)
        return DensePredictor(backbone=backbone, sem_seg_head=head, inference=ending).eval()

    def per_pixel(self, backbone: nn.Module, head: nn.Module, *, banded: bool = False) -> DensePredictor:
        """A head with scores per grid cell, in eval mode; `banded` finds the labels as SegViT does for "mix"."""
        ending: nn.Module = BilinearUpsampling()
        if self.labels:
            ending = (BandedArgmax if banded else Argmax)(ending, self.label_size)
        return DensePredictor(backbone=backbone, sem_seg_head=head, inference=ending).eval()


SCORES = OutputKind()


def override(cfg: CfgNode, *opts: object) -> CfgNode:
    """A copy of the config with KEY, VALUE, ... pairs merged into it."""
    cfg = cfg.clone()
    cfg.merge_from_list(list(opts))
    return cfg


def build_loaded_model(cfg: CfgNode) -> SegViT:
    """The config's model with the weights of MODEL.WEIGHTS, or random ones if that is empty."""
    model = cast(SegViT, build_random_model(cfg))
    if cfg.MODEL.WEIGHTS:
        SegViTCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


def build_segvit(cfg: CfgNode, kind: OutputKind = SCORES) -> DensePredictor:
    """The config's model with an output kind."""
    model = build_loaded_model(cfg)
    return kind.segvit(model.backbone, model.sem_seg_head, model.semantic_inference)


def build_models(
    cfg: CfgNode, names: Collection[str], image_size: tuple[int, int], kind: OutputKind = SCORES
) -> dict[str, nn.Module]:
    """The config's model, named by its output, and the named baselines: "linear" or "no-detail" first, peers last.

    All but the peers share one encoder. Names of neither `VARIANTS` nor `PEERS` are ignored.

    Raises:
        UserError: for a peer without `transformers` or with labels, and for "linear-bands" with scores.
    """
    peers = [name for name in PEERS if name in names]
    if peers and kind.labels:
        raise UserError(f"{peers[0]!r} is compared by its scores: leave out --labels")
    if "linear-bands" in names and not kind.labels:
        raise UserError("'linear-bands' is another way to labels: add --labels, or leave it out")
    model = build_loaded_model(cfg)
    backbone, head = model.backbone, model.sem_seg_head
    models: dict[str, nn.Module] = {}
    if "linear" in names:
        models["linear"] = kind.per_pixel(backbone, build_linear(cfg, backbone))
    if NO_DETAIL in names:
        plain_cfg = override(cfg, "MODEL.SEGVIT.DETAIL.SOURCE", "none")
        plain_head = build_sem_seg_head(plain_cfg, backbone.output_shape())
        models[NO_DETAIL] = kind.segvit(backbone, plain_head, model.semantic_inference)
    models[model.semantic_inference.mode] = kind.segvit(backbone, head, model.semantic_inference)
    for output in OUTPUTS:
        if output in names and output not in models:
            models[output] = kind.segvit(backbone, head, SemanticInference(output))
    if "linear-bands" in names:
        models["linear-bands"] = kind.per_pixel(backbone, build_linear(cfg, backbone), banded=True)
    if "segmenter" in names:
        models["segmenter"] = kind.per_pixel(backbone, build_segmenter(cfg, backbone))
    for name in peers:
        num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        models[name] = build_peer(name, num_classes=num_classes, image_size=max(image_size))
    return models


def build_linear(cfg: CfgNode, backbone: Backbone) -> LinearHead:
    """A linear classifier of the deepest stage's tokens: the cheapest segmentation head."""
    stage = cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES[0]
    return LinearHead(
        in_feature=stage,
        embed_dim=backbone.output_shape()[stage].channels,
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
    )


def build_segmenter(cfg: CfgNode, backbone: Backbone) -> SegmenterHead:
    """Segmenter's mask transformer on the deepest stage."""
    stage = cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES[0]
    return SegmenterHead(
        in_feature=stage,
        embed_dim=backbone.output_shape()[stage].channels,
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
    )


def input_images(cfg: CfgNode, image_size: tuple[int, int], *, batch: int, image_file: str | None) -> torch.Tensor:
    """(B, 3, H, W) normalized: copies of a resized image file, or noise if that is None."""
    height, width = image_size
    if image_file is None:
        return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(read_image(image_file, format="RGB")).resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    if cfg.INPUT.FORMAT == "BGR":
        pixels = pixels.flip(0)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    return ((pixels - mean) / std).expand(batch, -1, -1, -1).contiguous()


class InferenceCall:
    """One call of a compared model, built in the process whose memory is measured.

    Args:
        cfg, name, kind: see `build_models`.
        images: (B, 3, H, W).
        dtype: of weights and images.
    """

    def __init__(
        self, cfg: CfgNode, name: str, images: torch.Tensor, kind: OutputKind, dtype: torch.dtype = torch.float32
    ) -> None:
        image_size = (images.shape[-2], images.shape[-1])
        self.model = build_models(cfg, [name], image_size, kind)[name].to(dtype)
        self.images = images.to(dtype)

    @torch.inference_mode()
    def __call__(self) -> torch.Tensor:
        return self.model(self.images)
