"""Plain ViT encoders as Detectron2 backbones."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone

from segvit.modeling.vit_builder import build_vit_encoder
from segvit.modeling.vit_encoder import PlainViTEncoder


@BACKBONE_REGISTRY.register()
class PlainViT(Backbone):
    """A `PlainViTEncoder` behind Detectron2's backbone interface: stages "block<i>", all at the patch's stride."""

    @configurable
    def __init__(self, *, encoder: PlainViTEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, object]:
        vit = cfg.MODEL.VIT
        sizes = {
            "patch_size": vit.PATCH_SIZE,
            "embed_dim": vit.EMBED_DIM,
            "depth": vit.DEPTH,
            "num_heads": vit.NUM_HEADS,
        }
        encoder = build_vit_encoder(
            name=vit.NAME,
            img_size=tuple(vit.IMG_SIZE),
            out_indices=list(vit.OUT_INDICES),
            pretrained=vit.PRETRAINED,
            keep_prefix_tokens=vit.KEEP_PREFIX_TOKENS,
            final_norm=vit.FINAL_NORM,
            drop_path_rate=vit.DROP_PATH_RATE,
            stem=vit.STEM,
            init_std=vit.INIT_STD,
            fused_attention=vit.FUSED_ATTENTION,
            **{name: size for name, size in sizes.items() if size},
        )
        return {"encoder": encoder}

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, 3, H, W) normalised images -> "block<i>": (B, C, h, w)."""
        return self.encoder(images)

    def output_shape(self) -> dict[str, ShapeSpec]:
        stride = self.encoder.patch_size[0]
        return {
            f"block{index}": ShapeSpec(channels=self.encoder.embed_dim, stride=stride)
            for index in self.encoder.out_indices
        }

    @property
    def size_divisibility(self) -> int:
        return self.encoder.patch_size[0]

    @property
    def img_size(self) -> tuple[int, int]:
        """(H, W) in pixels that the position embedding was built for: what training batches are padded to."""
        (rows, columns), (patch_height, patch_width) = self.encoder.grid_size, self.encoder.patch_size
        return rows * patch_height, columns * patch_width
