"""From pixels to the token sequence that enters the first block.

Shape shorthand: B images, H x W pixels, P patch, h = H/P, w = W/P, N = h*w tokens, T prefix tokens, C width.
"""

from __future__ import annotations

import torch
from timm.layers import resample_abs_pos_embed
from torch import nn

from segvit.modeling.tokens import pad_to_size, padded_size


class TokenEmbedding(nn.Module):
    """Patch embedding, prefix tokens and absolute positions of a timm model, for images of any size.

    Args:
        vit: the timm model; its modules and parameters are taken over under their timm names.
        keep_prefix_tokens: return the class, distillation and register tokens, or drop them once positions are added.
    """

    def __init__(self, *, vit: nn.Module, keep_prefix_tokens: bool) -> None:
        super().__init__()
        self.patch_embed = vit.patch_embed
        self.cls_token = vit.cls_token
        self.dist_token = getattr(vit, "dist_token", None)
        self.reg_token = getattr(vit, "reg_token", None)
        self.pos_embed = vit.pos_embed
        self.pos_drop = vit.pos_drop
        self.norm_pre = getattr(vit, "norm_pre", nn.Identity())
        self.positions_cover_prefix = not getattr(vit, "no_embed_class", False)
        self.num_embedded_prefix_tokens: int = vit.num_prefix_tokens
        self.num_prefix_tokens = self.num_embedded_prefix_tokens if keep_prefix_tokens else 0
        ratio = vit.patch_embed.feat_ratio(as_scalar=False)
        self.patch_size: tuple[int, int] = (int(ratio[0]), int(ratio[1]))
        self.grid_size: tuple[int, int] = tuple(vit.patch_embed.grid_size)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """(B, 3, H, W) images, padded with zeros at the bottom and right to whole patches -> (B, T + N, C), (h, w)."""
        images = pad_to_size(images, padded_size(images.shape[-2:], self.patch_size))
        patches = self.patch_embed(images)  # (B, h, w, C)
        grid = (patches.shape[1], patches.shape[2])
        tokens = self.norm_pre(self.pos_drop(self._with_positions(patches.flatten(1, 2), grid)))
        return tokens[:, self.num_embedded_prefix_tokens - self.num_prefix_tokens :], grid

    def _with_positions(self, patches: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """(B, N, C) -> (B, T + N, C); the position embedding is resized where the grid differs from its own."""
        tokens = (self.cls_token, self.dist_token, self.reg_token)
        prefix = [token.expand(patches.shape[0], -1, -1) for token in tokens if token is not None]
        if self.pos_embed is None:
            return torch.cat([*prefix, patches], dim=1)
        # Without antialiasing, as in the official release (and in the fine-tuning codes before it).
        positions = resample_abs_pos_embed(
            self.pos_embed,
            new_size=list(grid),
            old_size=list(self.grid_size),
            num_prefix_tokens=self.num_embedded_prefix_tokens if self.positions_cover_prefix else 0,
            antialias=False,
        )
        if self.positions_cover_prefix:
            return torch.cat([*prefix, patches], dim=1) + positions
        return torch.cat([*prefix, patches + positions], dim=1)
