"""The one place where families of plain ViTs differ: how timm builds them, and what their blocks know of positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from timm.layers import Format
from timm.models import Beit, Eva, VisionTransformer, VisionTransformerDistilled
from torch import nn

from segvit.errors import UserError
from segvit.modeling.encoder.attention_positions import NoAttentionPositions, RelativePositions, RotaryPositions


@dataclass(frozen=True)
class Family:
    """A timm class of plain ViTs.

    Attributes:
        positions: builds the module that gives each block its position arguments; may move parameters into it.
        needs_prefix_tokens: whether attention was built around the class token and cannot do without.
        takes_stem: whether timm lets a convolutional stem replace the patch embedding.
        options: what timm must be told so that the model takes any image size and its final norm comes before pooling.
    """

    positions: Callable[[nn.Module], nn.Module]
    needs_prefix_tokens: bool
    takes_stem: bool
    options: dict[str, object]


def family_of(model_class: type[nn.Module]) -> Family:
    """The family of a timm model class. Raises UserError for a class that is no plain ViT known here."""
    if model_class not in FAMILIES:
        known = ", ".join(sorted(cls.__name__ for cls in FAMILIES))
        raise UserError(f"timm's {model_class.__name__} is not a plain ViT that SegViT can wrap; it wraps {known}")
    return FAMILIES[model_class]


def _added_positions(vit: VisionTransformer) -> nn.Module:
    return NoAttentionPositions()


def _rotary_positions(vit: Eva) -> nn.Module:
    if vit.rope is None:
        return NoAttentionPositions()
    if vit.rope_mixed:
        raise UserError("encoders with mixed rotary embeddings, one per block, are not supported")
    return RotaryPositions(rope=vit.rope, num_prefix_tokens=vit.num_prefix_tokens)


def _relative_positions(vit: Beit) -> nn.Module:
    # timm's BEiT takes one image size only, by its patch embedding and its tables; both are freed of it here.
    vit.patch_embed.strict_img_size = False
    vit.patch_embed.flatten = False
    vit.patch_embed.output_fmt = Format.NHWC
    if vit.rel_pos_bias is not None:
        tables = [vit.rel_pos_bias.relative_position_bias_table]
    else:
        tables = [block.attn.relative_position_bias_table for block in vit.blocks]
        for block in vit.blocks:
            block.attn.relative_position_bias_table = None
    return RelativePositions(tables=tables, grid_size=tuple(vit.patch_embed.grid_size))


UNPOOLED: dict[str, object] = {"global_pool": ""}
DYNAMIC: dict[str, object] = {"dynamic_img_size": True}
FAMILIES: dict[type[nn.Module], Family] = {
    # ViT, DeiT, AugReg, MAE, CLIP, DINO, DINOv2
    VisionTransformer: Family(_added_positions, needs_prefix_tokens=False, takes_stem=True, options=UNPOOLED | DYNAMIC),
    # distilled DeiT, which timm does not build without its pooling
    VisionTransformerDistilled: Family(_added_positions, needs_prefix_tokens=False, takes_stem=True, options=DYNAMIC),
    # EVA, EVA-02, DINOv3
    Eva: Family(_rotary_positions, needs_prefix_tokens=True, takes_stem=False, options=UNPOOLED | DYNAMIC),
    # BEiT, BEiTv2
    Beit: Family(_relative_positions, needs_prefix_tokens=True, takes_stem=False, options=UNPOOLED),
}
