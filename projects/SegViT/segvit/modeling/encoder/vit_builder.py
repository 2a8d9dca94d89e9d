"""`build_vit_encoder`: a `PlainViTEncoder` from a timm model name, with its pre-trained weights and token reduction."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, cast

import timm
import torch
from timm.layers import HybridEmbed
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.encoder.attention_positions import RotaryPositions
from segvit.modeling.encoder.conv_stem import ConvStem
from segvit.modeling.encoder.token_embedding import TokenEmbedding
from segvit.modeling.encoder.vit_encoder import PlainViTEncoder
from segvit.modeling.encoder.vit_families import TimmViT, family_of
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.token_reduction.reduction_builder import (
    CELL_KINDS,
    ReductionConfig,
    build_global_merging,
    build_reduction,
)
from segvit.modeling.tokens import padded_size
from segvit.modeling.weights.pretrained import load_pretrained_encoder, require_weights_of_tag


def build_vit_encoder(
    *,
    name: str,
    img_size: tuple[int, int],
    out_indices: list[int],
    pretrained: str = "",
    pretrained_min_match: float = 0.95,
    resample_patches: bool = False,
    keep_prefix_tokens: bool = True,
    final_norm: bool = False,
    reduction: ReductionConfig | None = None,
    init_std: float = 0.0,
    fused_attention: bool = True,
    gradient_checkpointing: bool = False,
    pixel_stage: str = "",
    **timm_options: Any,
) -> PlainViTEncoder:
    """Build the encoder.

    Args:
        name: a timm model name, such as "vit_base_patch16_384"; with a tag only if `pretrained` is given.
        img_size: (H, W) in pixels that positions are made for; rounded up to whole patches.
        out_indices: 0-based blocks that become stages; blocks after the last of them are dropped.
        pretrained, pretrained_min_match, resample_patches: see `load_pretrained_encoder`; "" for random weights.
        keep_prefix_tokens, final_norm: whether blocks see the class and register tokens, and whether timm's final norm
            is applied to the last block's output; neither in the official SegViT.
        reduction: token reduction; None for none.
        init_std: std of Linear layers' initial weights, residual outputs scaled by 1 / sqrt(2 depth); 0 keeps timm's.
        fused_attention: whether blocks use `scaled_dot_product_attention`; docs/efficiency.md says when not to.
        gradient_checkpointing, pixel_stage: see `PlainViTEncoder` and `TokenEmbedding`.
        **timm_options: see `create_timm_vit`.

    Raises:
        ArgumentError: if `name` is not a plain ViT of timm, or another argument does not fit it.
    """
    # A timm model with its initial or pre-trained weights, cut to the blocks that are used.
    require_weights_of_tag(name, pretrained)
    vit = create_timm_vit(name, img_size=img_size, **timm_options)
    require_prefix_tokens(vit, keep_prefix_tokens)
    initialize(vit, name, init_std, pretrained, pretrained_min_match, resample_patches)
    drop_unused_blocks(vit, out_indices)
    set_fused_attention(vit, fused_attention)

    # Take it apart. Positions come first, because they may take parameters out of the model.
    positions = family_of(type(vit)).positions(vit)
    embedding = TokenEmbedding(vit=vit, keep_prefix_tokens=keep_prefix_tokens, pixel_stage=pixel_stage)
    require_positions_of_cells(positions, reduction)
    token_reduction = build_reduction(reduction, list(vit.blocks), vit.embed_dim, embedding.num_prefix_tokens, init_std)
    return PlainViTEncoder(
        embedding=embedding,
        positions=positions,
        blocks=nn.ModuleList(vit.blocks),
        norm=vit.norm if final_norm else nn.Identity(),
        out_indices=out_indices,
        reduction=token_reduction,
        reduction_block_index=None if reduction is None else reduction.block_index,
        edge_block_index=None if reduction is None else reduction.edge_block_index,
        global_merging=build_global_merging(reduction),
        gradient_checkpointing=gradient_checkpointing,
    )


def initialize(
    vit: TimmViT, name: str, init_std: float, pretrained: str, pretrained_min_match: float, resample_patches: bool
) -> None:
    """Give a timm model its initial or pre-trained weights, see `build_vit_encoder`."""
    if init_std > 0:
        initialize_linear_layers(vit, init_std, residual_scale=1 / math.sqrt(2 * len(vit.blocks)))
    if pretrained:
        load_pretrained_encoder(
            vit,
            name=name,
            pretrained=pretrained,
            pretrained_min_match=pretrained_min_match,
            resample_patches=resample_patches,
        )


def create_timm_vit(
    name: str, *, img_size: tuple[int, int], stem: str = "linear", stem_dim: int = 0, **options: Any
) -> TimmViT:
    """Create a timm model without its classifier that takes images of any size.

    Args:
        name, img_size: see `build_vit_encoder`.
        stem, stem_dim: "linear", or "conv" for a `ConvStem` whose first map has that width (0 for its default).
        **options: arguments of `timm.create_model` that replace the named model's, such as embed_dim, depth, num_heads,
            in_chans (channels of the images, 3 by default) or drop_path_rate (stochastic depth of the last block,
            growing linearly from 0).

    Raises:
        ArgumentError: if `name` is not a plain ViT of timm, or `stem` or an option does not fit it.
    """
    if not timm.is_model(name):
        similar = timm.list_models(f"{name.split('_')[0]}*")[:5] or ["vit_base_patch16_384"]
        raise ArgumentError("name", f"{name!r} is not a timm model; some that are: {', '.join(similar)}")
    if stem not in ("linear", "conv"):
        raise ArgumentError("stem", f"{stem!r} must be 'linear' or 'conv'")

    # A copy without weights, to read the class and the patch size.
    try:
        with torch.device("meta"):
            probe = cast(TimmViT, timm.create_model(name, num_classes=0, **options))
    except (AssertionError, TypeError) as error:
        changed = ", ".join(f"{option} {value}" for option, value in options.items())
        raise ArgumentError("name", f"{name!r} cannot be built with {changed}: {error}") from error
    family = family_of(type(probe))
    if not hasattr(probe.blocks[0], "attn"):
        raise ArgumentError("name", f"{name!r} has several attentions per block, which SegViT does not support")

    patch_size = probe.patch_embed.patch_size
    if stem == "conv":
        if not family.takes_stem:
            raise ArgumentError("stem", f"'conv' does not fit {name}, whose patch embedding timm fixes: set 'linear'")
        conv_stem = ConvStem(
            patch_size=patch_size[0],
            embed_dim=probe.embed_dim,
            stem_dim=stem_dim,
            in_channels=probe.patch_embed.proj.in_channels,
        )
        options = {**options, "patch_size": 1, "embed_layer": partial(HybridEmbed, backbone=conv_stem)}
    img_size = padded_size(img_size, patch_size)
    vit = timm.create_model(name, num_classes=0, img_size=img_size, **family.options, **options)
    return cast(TimmViT, vit)


def drop_unused_blocks(vit: TimmViT, out_indices: list[int]) -> None:
    """Remove, in place, the blocks after the last stage, and with them the final norm.

    Raises ArgumentError if an index is outside the depth.
    """
    depth = len(vit.blocks)
    if not out_indices or min(out_indices) < 0 or max(out_indices) >= depth:
        raise ArgumentError("out_indices", f"{list(out_indices)} must name blocks 0 to {depth - 1}")
    if max(out_indices) < depth - 1:
        del vit.blocks[max(out_indices) + 1 :]
        vit.norm = nn.Identity()


def set_fused_attention(vit: TimmViT, fused_attention: bool) -> None:
    """Let all blocks use `scaled_dot_product_attention`, or none."""
    for block in vit.blocks:
        attention: Any = block.attn
        attention.fused_attn = fused_attention


def require_prefix_tokens(vit: TimmViT, keep_prefix_tokens: bool) -> None:
    """Raise ArgumentError if the model needs its prefix tokens in the blocks and they are not kept."""
    if family_of(type(vit)).needs_prefix_tokens and not keep_prefix_tokens:
        raise ArgumentError(
            "keep_prefix_tokens", f"must be True for {type(vit).__name__} models, whose attention needs them"
        )


def require_positions_of_cells(positions: nn.Module, reduction: ReductionConfig | None) -> None:
    """Raise ArgumentError if a reduction makes tokens of cells and the encoder has no positions between patches."""
    is_rotary = isinstance(positions, RotaryPositions) and positions.shifted_rope is None
    if reduction is not None and reduction.kind in CELL_KINDS and is_rotary:
        raise ArgumentError(
            "kind", f"{reduction.kind!r} needs positions between patches, which this encoder's rotary embedding lacks"
        )
