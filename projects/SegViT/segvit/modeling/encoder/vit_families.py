"""Families of plain ViTs in timm: how each is built for any image size, and how its blocks get positions.

This table is the only place where the encoder depends on the family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from timm.layers import Format
from timm.models import Beit, Eva, VisionTransformer, VisionTransformerDistilled
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.encoder.attention_positions import AbsolutePositions, RelativePositions, RotaryPositions

TimmViT = VisionTransformer | Eva | Beit


@dataclass(frozen=True)
class Family:
    """A timm class of plain ViTs.

    Attributes:
        positions: builds the module of `attention_positions`; may move parameters of the model into it.
        needs_prefix_tokens: whether attention relies on the prefix tokens and cannot run without them.
        takes_stem: whether a convolutional stem can replace the patch embedding.
        options: arguments of `timm.create_model` for any image size, with the final norm before pooling.
    """

    positions: Callable[[Any], nn.Module]
    needs_prefix_tokens: bool
    takes_stem: bool
    options: dict[str, Any]


def family_of(model_class: type[nn.Module]) -> Family:
    """The family of a timm model class. Raises ArgumentError about `name` for a class that is not in the table."""
    if model_class not in FAMILIES:
        known = ", ".join(sorted(cls.__name__ for cls in FAMILIES))
        raise ArgumentError(
            "name", f"stands for timm's {model_class.__name__}, which is not a plain ViT that SegViT supports ({known})"
        )
    return FAMILIES[model_class]


def _absolute_positions(vit: VisionTransformer) -> nn.Module:
    return AbsolutePositions()


def _rotary_positions(vit: Eva) -> nn.Module:
    if vit.rope is None:
        return AbsolutePositions()
    if vit.rope_mixed:
        raise ArgumentError("name", "stands for an encoder with mixed rotary embeddings, which SegViT does not support")
    rows, columns = vit.patch_embed.grid_size
    return RotaryPositions(rope=vit.rope, num_prefix_tokens=vit.num_prefix_tokens, grid_size=(rows, columns))


def _relative_positions(vit: Beit) -> nn.Module:
    # timm's BEiT takes one image size only, because of its patch embedding and its tables: lift both limits.
    vit.patch_embed.strict_img_size = False
    vit.patch_embed.flatten = False
    vit.patch_embed.output_fmt = Format.NHWC
    if vit.rel_pos_bias is not None:
        tables = [vit.rel_pos_bias.relative_position_bias_table]
    else:
        attentions: list[Any] = [block.attn for block in vit.blocks]
        tables = [attention.relative_position_bias_table for attention in attentions]
        for attention in attentions:
            # The index, too, which `RelativePositions` makes for any size: 20 MiB in each block at 640 x 640.
            attention.relative_position_bias_table = attention.relative_position_index = None
    rows, columns = vit.patch_embed.grid_size
    return RelativePositions(tables=tables, grid_size=(rows, columns))


UNPOOLED: dict[str, Any] = {"global_pool": ""}
DYNAMIC: dict[str, Any] = {"dynamic_img_size": True}
FAMILIES: dict[type[nn.Module], Family] = {
    # ViT, DeiT, AugReg, MAE, CLIP, DINO, DINOv2
    VisionTransformer: Family(
        _absolute_positions, needs_prefix_tokens=False, takes_stem=True, options=UNPOOLED | DYNAMIC
    ),
    # Distilled DeiT, which timm cannot build without pooling.
    VisionTransformerDistilled: Family(
        _absolute_positions, needs_prefix_tokens=False, takes_stem=True, options=DYNAMIC
    ),
    # EVA, EVA-02, DINOv3
    Eva: Family(_rotary_positions, needs_prefix_tokens=True, takes_stem=False, options=UNPOOLED | DYNAMIC),
    # BEiT, BEiTv2
    Beit: Family(_relative_positions, needs_prefix_tokens=True, takes_stem=False, options=UNPOOLED),
}
