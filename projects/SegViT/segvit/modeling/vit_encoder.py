"""The plain Vision Transformer that feeds the decoder (SegViT v1, section 3.1), around timm's modules.

Shape shorthand: B images, H x W pixels, P patch, h = H/P, w = W/P, N = h*w tokens, T prefix tokens, C width.
"""

from __future__ import annotations

import torch
from timm.layers import resample_abs_pos_embed
from timm.models import VisionTransformer
from torch import nn

from segvit.modeling.tokens import pad_to_size, padded_size, tokens_to_map


class PlainViTEncoder(nn.Module):
    """Images to one feature map per chosen block, all at 1/P resolution.

    Each map is the raw residual stream that leaves its block.

    Args:
        vit: a timm `VisionTransformer` built with `dynamic_img_size=True`; its patch embedding, position embedding,
            prefix tokens and blocks are taken over under their timm names, so that timm's weights load.
        out_indices: 0-based indices of the blocks whose outputs are returned; blocks behind the last are dropped.
        keep_prefix_tokens: let the class and register tokens take part in the blocks. The official SegViT adds them
            for the position embedding's sake and drops them before the first block.
        final_norm: apply timm's final norm to the output of the last block; the official SegViT does not.

    Raises:
        ValueError: where an index lies outside the encoder's depth.
    """

    def __init__(
        self, *, vit: VisionTransformer, out_indices: list[int], keep_prefix_tokens: bool, final_norm: bool
    ) -> None:
        super().__init__()
        depth = len(vit.blocks)
        if not out_indices or min(out_indices) < 0 or max(out_indices) >= depth:
            raise ValueError(f"out_indices {list(out_indices)} must name blocks 0 to {depth - 1} of this encoder")
        self.patch_embed = vit.patch_embed
        self.cls_token = vit.cls_token
        self.reg_token = vit.reg_token
        self.pos_embed = vit.pos_embed
        self.pos_drop = vit.pos_drop
        self.norm_pre = vit.norm_pre
        self.blocks = vit.blocks[: max(out_indices) + 1]
        self.norm = vit.norm if final_norm and len(self.blocks) == depth else nn.Identity()
        self.out_indices = sorted(out_indices)
        self.num_prefix_tokens = vit.num_prefix_tokens
        self.embeds_prefix_tokens = not vit.no_embed_class
        self.keep_prefix_tokens = keep_prefix_tokens
        self.embed_dim = vit.embed_dim
        ratio = vit.patch_embed.feat_ratio(as_scalar=False)
        self.patch_size: tuple[int, int] = (int(ratio[0]), int(ratio[1]))
        self.grid_size: tuple[int, int] = tuple(vit.patch_embed.grid_size)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encode normalised images of any size.

        Args:
            images: (B, 3, H, W); padded with zeros at the bottom and right to whole patches.

        Returns:
            "block<i>" -> (B, C, h, w) for each i in `out_indices`.
        """
        images = pad_to_size(images, padded_size(images.shape[-2:], self.patch_size))
        patches = self.patch_embed(images)  # (B, h, w, C)
        grid = (patches.shape[1], patches.shape[2])
        tokens = self.norm_pre(self._embed_positions(patches.flatten(1, 2), grid))
        num_prefix_tokens = self.num_prefix_tokens if self.keep_prefix_tokens else 0
        tokens = tokens[:, self.num_prefix_tokens - num_prefix_tokens :]  # (B, T + N, C)
        stages = {}
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index == len(self.blocks) - 1:
                tokens = self.norm(tokens)
            if index in self.out_indices:
                stages[f"block{index}"] = tokens_to_map(tokens[:, num_prefix_tokens:], grid)
        return stages

    def _embed_positions(self, patches: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """(B, N, C) -> (B, T + N, C), positions added; their embedding is resized where the grid differs."""
        prefix = [token.expand(len(patches), -1, -1) for token in (self.cls_token, self.reg_token) if token is not None]
        if self.pos_embed is None:
            return torch.cat([*prefix, patches], dim=1)
        # Without antialiasing, as in the official release (and in the fine-tuning codes before it).
        positions = resample_abs_pos_embed(
            self.pos_embed,
            new_size=list(grid),
            old_size=list(self.grid_size),
            num_prefix_tokens=self.num_prefix_tokens if self.embeds_prefix_tokens else 0,
            antialias=False,
        )
        if self.embeds_prefix_tokens:
            return self.pos_drop(torch.cat([*prefix, patches], dim=1) + positions)
        return self.pos_drop(torch.cat([*prefix, patches + positions], dim=1))
