"""Hierarchical encoders as Detectron2 backbones."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone

from segvit.modeling.hierarchical_encoder import HierarchicalEncoder


@BACKBONE_REGISTRY.register()
class HierarchicalViT(Backbone):
    """A `HierarchicalEncoder` behind Detectron2's backbone interface: stages "stage<s>", finest first."""

    @configurable
    def __init__(self, *, encoder: HierarchicalEncoder, img_size: tuple[int, int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.img_size = img_size

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, object]:
        vit = cfg.MODEL.VIT
        img_size = (vit.IMG_SIZE[0], vit.IMG_SIZE[1])
        encoder = HierarchicalEncoder(
            name=vit.NAME,
            img_size=img_size,
            out_indices=list(vit.OUT_INDICES),
            pretrained=vit.PRETRAINED,
            pretrained_min_match=vit.PRETRAINED_MIN_MATCH,
            drop_path_rate=vit.DROP_PATH_RATE,
        )
        return {"encoder": encoder, "img_size": img_size}

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, 3, H, W) normalised images -> "stage<s>": (B, C_s, h_s, w_s)."""
        return self.encoder(images)

    def output_shape(self) -> dict[str, ShapeSpec]:
        encoder, (height, width) = self.encoder, self.img_size
        return {
            f"stage{index}": ShapeSpec(
                channels=channels, height=-(-height // stride), width=-(-width // stride), stride=stride
            )
            for index, channels, stride in zip(encoder.out_indices, encoder.channels, encoder.strides, strict=True)
        }

    @property
    def size_divisibility(self) -> int:
        return self.encoder.strides[-1]
