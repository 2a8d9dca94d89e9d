"""`TokenEmbedding`: images to the token sequence that enters the first block.

Shape shorthand: B images, I their channels, H x W pixels, P patch size, h = H/P, w = W/P, N = h*w patch tokens, T
prefix tokens, C width.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import HybridEmbed, resample_abs_pos_embed
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.encoder.vit_families import TimmViT
from segvit.modeling.grid_tensors import Grid, GridTensors
from segvit.modeling.tokens import pad_to_size, padded_size

# Names of the stages that are maps of pixels, for the detail branch of a decoder: the image, and maps of a stem.
IMAGE_STAGE, STEM_STAGES = "image", "stem"


def stem_stage(stride: int) -> str:
    """The stage that is a convolutional stem's map at a stride in pixels."""
    return f"{STEM_STAGES}{stride}"


def is_pixel_stage(name: str) -> bool:
    """Whether a stage is a map of pixels."""
    return name == IMAGE_STAGE or name.startswith(STEM_STAGES)


class TokenEmbedding(GridTensors):
    """Patch embedding, prefix tokens and absolute positions of a timm model, for images of any size.

    Args:
        vit: the timm model; its modules and parameters are used under their timm names.
        keep_prefix_tokens: whether to return the class, distillation and register tokens, or to drop them after
            positions are added.
        pixel_stage: the maps of pixels to return beside the tokens: `IMAGE_STAGE`; a `stem_stage`, for the stem's maps
            from this one to that of half a patch; or "" for none.

    Raises:
        ArgumentError: if `pixel_stage` names a stage that the stem does not have.
    """

    grid_dimension = 1

    def __init__(self, *, vit: TimmViT, keep_prefix_tokens: bool, pixel_stage: str = "") -> None:
        super().__init__()
        self.patch_embed = vit.patch_embed
        self.cls_token = vit.cls_token
        self.dist_token = getattr(vit, "dist_token", None)
        self.reg_token = getattr(vit, "reg_token", None)
        self.pos_embed = vit.pos_embed
        self.pos_drop = vit.pos_drop
        self.norm_pre = getattr(vit, "norm_pre", nn.Identity())
        self.positions_cover_prefix = not getattr(vit, "no_embed_class", False)
        self.num_embedded_prefix_tokens = vit.num_prefix_tokens
        self.num_prefix_tokens = vit.num_prefix_tokens if keep_prefix_tokens else 0
        self.embed_dim = vit.embed_dim
        stride: Any = vit.patch_embed.feat_ratio(as_scalar=False)
        self.patch_size = (int(stride[0]), int(stride[1]))
        rows, columns = vit.patch_embed.grid_size
        self.grid_size = (rows, columns)
        # Width and stride of the maps of pixels, finest first.
        self.pixel_shapes: dict[str, tuple[int, int]] = {}
        if pixel_stage == IMAGE_STAGE:
            self.pixel_shapes[IMAGE_STAGE] = (image_channels(vit.patch_embed), 1)
        elif pixel_stage:
            inner = stem_widths(vit.patch_embed)[:-1]
            shapes = {stem_stage(2 << index): (width, 2 << index) for index, width in enumerate(inner)}
            if pixel_stage not in shapes:
                strides = ", ".join(str(stride) for _, stride in shapes.values()) or "none"
                raise ArgumentError(
                    "pixel_stage",
                    "needs a convolutional stem (see `stem`) with a map of its stride before that of the patches; it "
                    f"has {strides}",
                )
            finest = shapes[pixel_stage][1]
            self.pixel_shapes = {name: shape for name, shape in shapes.items() if shape[1] >= finest}

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int], dict[str, torch.Tensor]]:
        """Images (B, I, H, W) -> tokens (B, T + N, C), grid (h, w), and the maps of pixels that are asked for."""
        # Pad at the bottom and right to whole patches, then embed them.
        images = pad_to_size(images, padded_size(images.shape[-2:], self.patch_size))
        patches, pixels = self._embed_patches(images)
        grid = (patches.shape[1], patches.shape[2])

        # Prefix tokens in front, positions added.
        tokens = self._add_prefix_and_positions(patches.flatten(1, 2), grid)
        tokens = self.norm_pre(self.pos_drop(tokens))

        # Drop the prefix tokens again if the blocks run without them.
        return tokens[:, self.num_embedded_prefix_tokens - self.num_prefix_tokens :], grid, pixels

    def _embed_patches(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Patches (B, h, w, C), and the maps of pixels."""
        if IMAGE_STAGE in self.pixel_shapes:
            return self.patch_embed(images), {IMAGE_STAGE: images}
        if not self.pixel_shapes:
            return self.patch_embed(images), {}
        # As `HybridEmbed.forward`, which does not return the stem's inner maps.
        embed: Any = self.patch_embed
        maps: dict[str, torch.Tensor] = {}
        for index, stage in enumerate(embed.backbone):
            images = stage(images)
            if stem_stage(2 << index) in self.pixel_shapes:
                maps[stem_stage(2 << index)] = images
        return embed.proj(images).permute(0, 2, 3, 1), maps

    def _add_prefix_and_positions(self, patches: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """(B, N, C) -> (B, T + N, C). The position embedding is resized if the grid differs from `grid_size`."""
        # Parameters (1, T, C) are broadcast without their first dimension: also where there is one image, their
        # gradients are then sums over images in the parameters' own layout, not slices, of which DDP warns.
        tokens = (self.cls_token, self.dist_token, self.reg_token)
        prefix = [token.squeeze(0).expand(patches.shape[0], -1, -1) for token in tokens if token is not None]
        if self.pos_embed is None:
            return torch.cat([*prefix, patches], dim=1)
        # Where it is compiled, timm would also resize to the same grid.
        is_same = torch.compiler.is_dynamo_compiling() and grid == self.grid_size
        positions = self.pos_embed if is_same else self.resized(self.pos_embed, self.grid_size, grid)
        positions = positions.squeeze(0)
        if self.positions_cover_prefix:
            return torch.cat([*prefix, patches], dim=1) + positions
        return torch.cat([*prefix, patches + positions], dim=1)

    @property
    def img_size(self) -> tuple[int, int]:
        """(H, W) in pixels of the images that the positions were made for, padded to whole patches."""
        return self.grid_size[0] * self.patch_size[0], self.grid_size[1] * self.patch_size[1]

    @property
    def _num_prefix_positions(self) -> int:
        return self.num_embedded_prefix_tokens if self.positions_cover_prefix else 0

    def grid_tensors(self) -> list[str]:
        return [] if self.pos_embed is None else ["pos_embed"]

    def length_on(self, grid: Grid) -> int:
        return self._num_prefix_positions + grid[0] * grid[1]

    def resized(self, tensor: torch.Tensor, old: Grid, new: Grid) -> torch.Tensor:
        """Positions (1, T + N, C); those of prefix tokens stay. Without antialiasing, as in the official release."""
        return resample_abs_pos_embed(
            tensor,
            new_size=list(new),
            old_size=list(old),
            num_prefix_tokens=self._num_prefix_positions,
            antialias=False,
        )


def image_channels(patch_embed: nn.Module) -> int:
    """Channels of the images that a patch embedding takes: those of its first convolution."""
    return next(layer for layer in patch_embed.modules() if isinstance(layer, nn.Conv2d)).in_channels


def stem_widths(patch_embed: nn.Module) -> list[int]:
    """Widths of the stages of a `ConvStem`, whose strides are 2, 4 and so on; empty for a linear embedding."""
    if not isinstance(patch_embed, HybridEmbed):
        return []
    stem: Any = patch_embed.backbone
    return [stage.width for stage in stem]
