"""`HierarchicalViT`: a `HierarchicalEncoder` (Swin) as a Detectron2 backbone."""

from __future__ import annotations

from typing import Any

import torch
from yacs.config import CfgNode

from segvit.assembly.backbone import ENCODER_KEYS, EncoderBackbone, freezing
from segvit.assembly.configurable import configurable
from segvit.assembly.detail_keys import configured_pixel_stage
from segvit.assembly.encoder_weights import encoder_weights
from segvit.errors import UserError, renamed_arguments
from segvit.images import image_format_of
from segvit.modeling.encoder.hierarchical_encoder import HierarchicalEncoder
from segvit.modeling.encoder.stage_shape import StageShape, map_shape

# Keys of plain ViTs only, with the values that they must have for Swin.
PLAIN_ONLY = {
    "PATCH_SIZE": 0,
    "EMBED_DIM": 0,
    "DEPTH": 0,
    "NUM_HEADS": 0,
    "STEM": "linear",
    "INIT_STD": 0.0,
    "FINAL_NORM": False,
    "REDUCTION": "none",
    "RESAMPLE_PATCHES": False,
}


class HierarchicalViT(EncoderBackbone):
    """A Swin Transformer with stages "stage<s>", finest first."""

    encoder: HierarchicalEncoder

    @configurable
    def __init__(
        self,
        *,
        encoder: HierarchicalEncoder,
        img_size: tuple[int, int],
        frozen: bool = False,
        frozen_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(encoder=encoder, frozen=frozen, frozen_dtype=frozen_dtype)
        self.img_size = img_size

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Any = None) -> dict[str, Any]:
        vit = cfg.MODEL.VIT
        changed = [f"MODEL.VIT.{key} {default!r}" for key, default in PLAIN_ONLY.items() if vit[key] != default]
        if changed:
            raise UserError(f"HierarchicalViT does not support other values of these keys: set {', '.join(changed)}")
        img_size = (vit.IMG_SIZE[0], vit.IMG_SIZE[1])
        with renamed_arguments(**ENCODER_KEYS):
            encoder = HierarchicalEncoder(
                **encoder_weights(cfg),
                img_size=img_size,
                in_chans=image_format_of(cfg).channels,
                out_indices=list(vit.OUT_INDICES),
                drop_path_rate=vit.DROP_PATH_RATE,
                gradient_checkpointing=vit.GRADIENT_CHECKPOINTING,
                pixel_stage=configured_pixel_stage(cfg),
            )
        return {"encoder": encoder, "img_size": img_size, **freezing(cfg)}

    def output_shape(self) -> dict[str, StageShape]:
        encoder = self.encoder
        shapes = {}
        if encoder.pixel_stage:
            shapes[encoder.pixel_stage] = map_shape(encoder.image_channels, 1, self.img_size)
        for index, channels, stride in zip(encoder.out_indices, encoder.channels, encoder.strides, strict=True):
            shapes[f"stage{index}"] = map_shape(channels, stride, self.img_size)
        return shapes

    @property
    def size_divisibility(self) -> int:
        return self.encoder.strides[-1]
