"""Plain ViT encoders as Detectron2 backbones."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn

from segvit.errors import UserError
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.encoder.vit_encoder import PlainViTEncoder
from segvit.modeling.token_reduction.edge_head import EdgeHead
from segvit.modeling.token_reduction.reduction_builder import TokenReduction
from segvit.modeling.token_reduction.token_set import Stage


class EncoderBackbone(Backbone):
    """An encoder behind Detectron2's backbone interface.

    Args:
        encoder: images (B, 3, H, W) to named stages.
        frozen: keep its weights as they are, and the encoder in evaluation mode throughout.
    """

    def __init__(self, *, encoder: nn.Module, frozen: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.frozen = False
        if frozen:
            self.freeze()

    def forward(self, images: torch.Tensor) -> dict[str, Stage]:
        """(B, 3, H, W) normalised images -> the encoder's stages by name."""
        return self.encoder(images)

    def freeze(self) -> None:
        """Keep the weights as they are from now on, and the encoder in evaluation mode."""
        self.frozen = True
        self.encoder.requires_grad_(False)
        self.eval()

    @property
    def trains_edge_head(self) -> bool:
        """Whether the encoder has an edge head (Shrunk++) that is not frozen: it then needs an edge loss."""
        return not self.frozen and any(isinstance(module, EdgeHead) for module in self.encoder.modules())

    def train(self, mode: bool = True) -> EncoderBackbone:
        return super().train(mode and not self.frozen)


@BACKBONE_REGISTRY.register()
class PlainViT(EncoderBackbone):
    """A `PlainViTEncoder`: stages "block<i>"."""

    @configurable
    def __init__(self, *, encoder: PlainViTEncoder, frozen: bool = False) -> None:
        super().__init__(encoder=encoder, frozen=frozen)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, object]:
        vit = cfg.MODEL.VIT
        reduction = None
        if vit.REDUCTION == "none" and vit.REDUCTION_SAMPLING != "nearest_q":
            raise UserError(
                f"MODEL.VIT.REDUCTION_SAMPLING {vit.REDUCTION_SAMPLING!r} fits MODEL.VIT.REDUCTION 'shrunk', not 'none'"
            )
        if vit.REDUCTION != "none":
            reduction = TokenReduction(
                kind=vit.REDUCTION,
                block_index=vit.REDUCTION_BLOCK,
                sampling=vit.REDUCTION_SAMPLING,
                edge_block_index=vit.EDGE.BLOCK,
                selection=vit.EDGE.SELECTION,
                threshold=vit.EDGE.THRESHOLD,
                share=vit.EDGE.SHARE,
            )
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
            pretrained="" if cfg.MODEL.WEIGHTS else vit.PRETRAINED,
            pretrained_min_match=vit.PRETRAINED_MIN_MATCH,
            keep_prefix_tokens=vit.KEEP_PREFIX_TOKENS,
            final_norm=vit.FINAL_NORM,
            reduction=reduction,
            drop_path_rate=vit.DROP_PATH_RATE,
            stem=vit.STEM,
            init_std=vit.INIT_STD,
            fused_attention=vit.FUSED_ATTENTION,
            gradient_checkpointing=vit.GRADIENT_CHECKPOINTING,
            **{name: size for name, size in sizes.items() if size},
        )
        return {"encoder": encoder, "frozen": vit.FROZEN}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels, stride and, for the size that positions were made for, the grid of each stage; a stage that is no
        map (Shrunk++) has neither stride nor grid."""
        return {
            name: ShapeSpec(channels=channels)
            if stride is None
            else ShapeSpec(
                channels=channels,
                height=-(-self.img_size[0] // stride),
                width=-(-self.img_size[1] // stride),
                stride=stride,
            )
            for name, (channels, stride) in self.encoder.stage_shapes().items()
        }

    @property
    def size_divisibility(self) -> int:
        return self.encoder.embedding.patch_size[0]

    @property
    def img_size(self) -> tuple[int, int]:
        """(H, W) in pixels that positions were made for: what training batches are padded to."""
        embedding = self.encoder.embedding
        (rows, columns), (patch_height, patch_width) = embedding.grid_size, embedding.patch_size
        return rows * patch_height, columns * patch_width
