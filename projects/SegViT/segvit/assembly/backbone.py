"""`PlainViT`: a `PlainViTEncoder` as a Detectron2 backbone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypedDict

import torch
from torch import nn
from yacs.config import CfgNode

from segvit.assembly.configurable import configurable
from segvit.assembly.detail_keys import configured_pixel_stage
from segvit.assembly.encoder_weights import encoder_weights
from segvit.assembly.reduction_keys import reduction_config, reduction_keys
from segvit.config.device import number_format
from segvit.errors import renamed_arguments
from segvit.images import image_format_of
from segvit.modeling.cast_weights import hold_cast_weights
from segvit.modeling.encoder.stage_shape import StageShape
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.encoder.vit_encoder import PlainViTEncoder
from segvit.modeling.token_reduction.edge_head import EdgeHead
from segvit.modeling.token_reduction.token_set import Stage, stage_of_dtype

# The config keys of the encoders' arguments, for error messages.
ENCODER_KEYS = {
    "name": "MODEL.VIT.NAME",
    "out_indices": "MODEL.VIT.OUT_INDICES",
    "patch_size": "MODEL.VIT.PATCH_SIZE",
    "embed_dim": "MODEL.VIT.EMBED_DIM",
    "stem": "MODEL.VIT.STEM",
    "stem_dim": "MODEL.VIT.STEM_DIM",
    "keep_prefix_tokens": "MODEL.VIT.KEEP_PREFIX_TOKENS",
    "pretrained": "MODEL.VIT.PRETRAINED",
    "pretrained_min_match": "MODEL.VIT.PRETRAINED_MIN_MATCH",
    "resample_patches": "MODEL.VIT.RESAMPLE_PATCHES",
    "pixel_stage": "MODEL.SEGVIT.DETAIL.SOURCE",
}


class EncoderBackbone(nn.Module):
    """Base of the backbones: an encoder that can be frozen.

    Args:
        encoder: images (B, I, H, W), of I channels, to named stages.
        frozen: never train the encoder, and keep it in evaluation mode.
        frozen_dtype: see `freeze`.
    """

    def __init__(self, *, encoder: nn.Module, frozen: bool, frozen_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.encoder = encoder
        self.frozen = False
        self.frozen_dtype = torch.float32
        if frozen:
            self.freeze(frozen_dtype)

    def forward(self, images: torch.Tensor) -> dict[str, Stage]:
        """Normalized images (B, I, H, W) -> the encoder's stages by name."""
        if not self.frozen:
            return self.encoder(images)
        # Without a graph, so that no activation is kept for a backward pass.
        with torch.no_grad(), self._frozen_autocast(images.device.type):
            stages = self.encoder(images)
        # What follows need not run under autocast.
        return stages if self.holds_float32 else {name: stage_of_dtype(stages[name], images.dtype) for name in stages}

    def freeze(self, dtype: torch.dtype = torch.float32) -> None:
        """From now on, do not train the encoder, and keep it in evaluation mode; a frozen one stays as it is.

        Args:
            dtype: other than float32, its linear and convolutional layers hold their weights in this type, and it runs
                under autocast of this type, whose results it gives.
        """
        if self.frozen:
            return
        self.frozen = True
        self.frozen_dtype = dtype
        self.encoder.requires_grad_(False)
        self.eval()
        if not self.holds_float32:
            hold_cast_weights(self.encoder, dtype)

    @property
    def holds_float32(self) -> bool:
        """Whether all weights are float32: always, unless the encoder is frozen."""
        return self.frozen_dtype == torch.float32

    def _frozen_autocast(self, device_type: str) -> AbstractContextManager[None]:
        """The autocast of weights that are not float32; with float32, an autocast around the backbone stays.

        There is none on the meta device, where operators are counted.
        """
        if self.holds_float32 or not torch.amp.is_autocast_available(device_type):
            return nullcontext()
        return torch.autocast(device_type, dtype=self.frozen_dtype)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether blocks are computed again in the backward pass."""
        return bool(self.encoder.gradient_checkpointing)

    @property
    def trains_edge_head(self) -> bool:
        """Whether the encoder has an edge head (Shrunk++) that is not frozen: it then needs an edge loss."""
        return not self.frozen and any(isinstance(module, EdgeHead) for module in self.encoder.modules())

    def train(self, mode: bool = True) -> EncoderBackbone:
        return super().train(mode and not self.frozen)


class PlainViT(EncoderBackbone):
    """A plain ViT with stages "block<i>"."""

    encoder: PlainViTEncoder

    @configurable
    def __init__(
        self, *, encoder: PlainViTEncoder, frozen: bool = False, frozen_dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(encoder=encoder, frozen=frozen, frozen_dtype=frozen_dtype)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Any = None) -> dict[str, Any]:
        vit = cfg.MODEL.VIT
        sizes = {
            "patch_size": vit.PATCH_SIZE,
            "embed_dim": vit.EMBED_DIM,
            "depth": vit.DEPTH,
            "num_heads": vit.NUM_HEADS,
        }
        with renamed_arguments(**ENCODER_KEYS, **reduction_keys(vit)):
            encoder = build_vit_encoder(
                **encoder_weights(cfg),
                resample_patches=vit.RESAMPLE_PATCHES,
                img_size=tuple(vit.IMG_SIZE),
                in_chans=image_format_of(cfg).channels,
                out_indices=list(vit.OUT_INDICES),
                keep_prefix_tokens=vit.KEEP_PREFIX_TOKENS,
                final_norm=vit.FINAL_NORM,
                reduction=reduction_config(vit),
                drop_path_rate=vit.DROP_PATH_RATE,
                stem=vit.STEM,
                stem_dim=vit.STEM_DIM,
                init_std=vit.INIT_STD,
                fused_attention=vit.FUSED_ATTENTION,
                gradient_checkpointing=vit.GRADIENT_CHECKPOINTING,
                pixel_stage=configured_pixel_stage(cfg),
                **{name: size for name, size in sizes.items() if size},
            )
        return {"encoder": encoder, **freezing(cfg)}

    def output_shape(self) -> dict[str, StageShape]:
        return self.encoder.stage_shapes()

    @property
    def size_divisibility(self) -> int:
        return self.encoder.embedding.patch_size[0]

    @property
    def img_size(self) -> tuple[int, int]:
        """(H, W) in pixels that positions were made for; training batches are padded to it."""
        return self.encoder.embedding.img_size


class Freezing(TypedDict):
    """Arguments of `EncoderBackbone`."""

    frozen: bool
    frozen_dtype: torch.dtype


def freezing(cfg: CfgNode) -> Freezing:
    """Whether a config's encoder is frozen, and the type of its weights then."""
    return {
        "frozen": cfg.MODEL.VIT.FROZEN,
        "frozen_dtype": frozen_dtype(cfg.MODEL.VIT, torch.device(cfg.MODEL.DEVICE).type),
    }


def frozen_dtype(vit: CfgNode, device_type: str) -> torch.dtype:
    """The type of a frozen encoder's weights on a device, of a config node MODEL.VIT; float32 if it is not frozen."""
    if not vit.FROZEN:
        return torch.float32
    return number_format(vit.FROZEN_PRECISION, device_type, key="MODEL.VIT.FROZEN_PRECISION")
