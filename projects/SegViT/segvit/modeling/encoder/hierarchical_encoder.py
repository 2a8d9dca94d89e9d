"""Hierarchical encoders of timm (Swin) for the paper's Swin-T ablation (SegViT v1, table 6).

Shape shorthand: B images, H x W pixels; stage s has stride 4 * 2**s and width C_s.
"""

from __future__ import annotations

import timm
import torch
from torch import nn

from segvit.errors import UserError
from segvit.modeling.tokens import pad_to_size, padded_size
from segvit.modeling.weights.pretrained import load_pretrained_encoder


class HierarchicalEncoder(nn.Module):
    """Images to one feature map per stage, each of its own resolution and width.

    Args:
        name: a timm model name of a Swin Transformer, such as "swin_tiny_patch4_window7_224".
        img_size: (H, W) in pixels that the windows are laid out for; other sizes are padded to whole windows by timm.
        out_indices: 0-based stages to return.
        pretrained, pretrained_min_match: see `segvit.modeling.weights.pretrained`.
        drop_path_rate: stochastic depth of the last block.
        gradient_checkpointing: recompute blocks in the backward pass instead of storing them.
        **overrides: timm's own arguments, such as embed_dim, depths or num_heads.

    Raises:
        UserError: where `name` is no Swin Transformer of timm, or an index lies outside its stages.
    """

    def __init__(
        self,
        *,
        name: str,
        img_size: tuple[int, int],
        out_indices: list[int],
        pretrained: str = "",
        pretrained_min_match: float = 0.95,
        drop_path_rate: float = 0.0,
        gradient_checkpointing: bool = False,
        **overrides: int | tuple[int, ...],
    ) -> None:
        super().__init__()
        if not name.startswith("swin_") or not timm.is_model(name):
            raise UserError(f"MODEL.VIT.NAME {name!r} is not a Swin Transformer of timm")
        self.swin = timm.create_model(
            name,
            num_classes=0,
            global_pool="",
            img_size=img_size,
            drop_path_rate=drop_path_rate,
            strict_img_size=False,
            **overrides,
        )
        if pretrained:
            load_pretrained_encoder(self.swin, name=name, source=pretrained, min_match=pretrained_min_match)
        self.swin.set_grad_checkpointing(gradient_checkpointing)
        stages = self.swin.feature_info
        if not out_indices or not set(out_indices) <= set(range(len(stages))):
            raise UserError(f"MODEL.VIT.OUT_INDICES {list(out_indices)} must name stages 0 to {len(stages) - 1}")
        self.swin.prune_intermediate_layers(out_indices, prune_norm=True, prune_head=True)
        self.out_indices = sorted(out_indices)
        self.channels = [stages[index]["num_chs"] for index in self.out_indices]
        self.strides = [stages[index]["reduction"] for index in self.out_indices]

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, 3, H, W), padded at the bottom and right to the coarsest stride -> "stage<s>": (B, C_s, h_s, w_s)."""
        coarsest = self.strides[-1]
        images = pad_to_size(images, padded_size(images.shape[-2:], (coarsest, coarsest)))
        maps = self.swin.forward_intermediates(images, indices=self.out_indices, intermediates_only=True)
        return {f"stage{index}": feature_map for index, feature_map in zip(self.out_indices, maps, strict=True)}
