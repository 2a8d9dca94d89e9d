"""`HierarchicalEncoder`: Swin Transformers of timm, for the Swin-T ablation (SegViT v1, table 6).

Shape shorthand: B images, I their channels, H x W pixels; stage s has stride 4 * 2**s and width C_s.
"""

from __future__ import annotations

from typing import Any, cast

import timm
import torch
from timm.models import SwinTransformer
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.encoder.token_embedding import IMAGE_STAGE, image_channels
from segvit.modeling.tokens import pad_to_size, padded_size
from segvit.modeling.weights.pretrained import load_pretrained_encoder, require_weights_of_tag


class HierarchicalEncoder(nn.Module):
    """Images to one feature map per stage, each with its own resolution and width.

    Args:
        name: a timm model name of a Swin Transformer, such as "swin_tiny_patch4_window7_224".
        img_size: (H, W) in pixels that windows are laid out for; timm pads other sizes to whole windows.
        out_indices: 0-based stages to return.
        pretrained, pretrained_min_match: see `load_pretrained_encoder`; "" for random weights.
        gradient_checkpointing: recompute blocks in the backward pass instead of storing their activations.
        pixel_stage: "" or `IMAGE_STAGE`, which also returns the padded images.
        **timm_options: arguments of `timm.create_model`, such as embed_dim, depths, num_heads, in_chans (channels of
            the images) or drop_path_rate (stochastic depth of the last block).

    Raises:
        ArgumentError: if `name` is not a Swin Transformer of timm, or another argument does not fit it.
    """

    def __init__(
        self,
        *,
        name: str,
        img_size: tuple[int, int],
        out_indices: list[int],
        pretrained: str = "",
        pretrained_min_match: float = 0.95,
        gradient_checkpointing: bool = False,
        pixel_stage: str = "",
        **timm_options: Any,
    ) -> None:
        super().__init__()
        if not name.startswith("swin_") or not timm.is_model(name):
            raise ArgumentError("name", f"{name!r} is not a Swin Transformer of timm")
        require_weights_of_tag(name, pretrained)
        if pixel_stage not in ("", IMAGE_STAGE):
            raise ArgumentError(
                "pixel_stage", f"{pixel_stage!r} is no stage of {name}, which has no convolutional stem"
            )
        self.pixel_stage = pixel_stage
        swin: Any = timm.create_model(
            name, num_classes=0, global_pool="", img_size=img_size, strict_img_size=False, **timm_options
        )
        self.swin = cast(SwinTransformer, swin)
        if pretrained:
            load_pretrained_encoder(
                self.swin, name=name, pretrained=pretrained, pretrained_min_match=pretrained_min_match
            )
        self.image_channels = image_channels(swin.patch_embed)
        self.swin.set_grad_checkpointing(gradient_checkpointing)
        self.gradient_checkpointing = gradient_checkpointing
        stages = self.swin.feature_info
        if not out_indices or not set(out_indices) <= set(range(len(stages))):
            raise ArgumentError("out_indices", f"{list(out_indices)} must name stages 0 to {len(stages) - 1}")
        self.swin.prune_intermediate_layers(out_indices, prune_norm=True, prune_head=True)
        self.out_indices = sorted(out_indices)
        self.channels: list[int] = [stages[index]["num_chs"] for index in self.out_indices]
        self.strides: list[int] = [stages[index]["reduction"] for index in self.out_indices]

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, I, H, W), padded at the bottom and right to the coarsest stride -> "stage<s>": (B, C_s, h_s, w_s)."""
        coarsest = self.strides[-1]
        images = pad_to_size(images, padded_size(images.shape[-2:], (coarsest, coarsest)))
        maps: Any = self.swin.forward_intermediates(images, indices=self.out_indices, intermediates_only=True)
        stages = {f"stage{index}": feature_map for index, feature_map in zip(self.out_indices, maps, strict=True)}
        return {IMAGE_STAGE: images, **stages} if self.pixel_stage else stages
