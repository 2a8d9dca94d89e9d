"""Build a plain-ViT encoder by its timm name, whole or with a few sizes overridden."""

from __future__ import annotations

import math
from functools import partial

import timm
import torch
from timm.layers import HybridEmbed
from torch import nn

from segvit.errors import UserError
from segvit.modeling.encoder.conv_stem import ConvStem
from segvit.modeling.encoder.token_embedding import TokenEmbedding
from segvit.modeling.encoder.vit_encoder import PlainViTEncoder
from segvit.modeling.encoder.vit_families import family_of
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.token_reduction.reduction_builder import TokenReduction, build_reduction
from segvit.modeling.tokens import padded_size
from segvit.modeling.weights.pretrained import load_pretrained_encoder


def build_vit_encoder(
    *,
    name: str,
    img_size: tuple[int, int],
    out_indices: list[int],
    pretrained: str = "",
    pretrained_min_match: float = 0.95,
    keep_prefix_tokens: bool = True,
    final_norm: bool = False,
    reduction: TokenReduction | None = None,
    drop_path_rate: float = 0.0,
    stem: str = "linear",
    init_std: float = 0.0,
    fused_attention: bool = True,
    gradient_checkpointing: bool = False,
    **overrides: int | float | bool,
) -> PlainViTEncoder:
    """Build the encoder.

    Args:
        name: a timm model name without its tag, such as "vit_base_patch16_384".
        img_size: (H, W) in pixels that positions cover; rounded up to whole patches.
        out_indices: 0-based blocks that become stages; blocks behind the last are dropped.
        pretrained: "" for random weights, a timm tag, or a local file that timm reads.
        pretrained_min_match: the share of the encoder's tensors that those weights must provide.
        keep_prefix_tokens: let the class and register tokens take part in the blocks; the official SegViT drops them.
        final_norm: apply timm's final norm to the output of the last block; the official SegViT does not.
        reduction: which tokens are dropped on the way, and where; None for none.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        stem: "linear" or "conv".
        init_std: standard deviation for Linear layers, residual outputs scaled by 1 / sqrt(2 depth); 0 keeps timm's.
        fused_attention: let the blocks use `scaled_dot_product_attention`; see docs/efficiency.md for when not to.
        gradient_checkpointing: see `PlainViTEncoder`.
        **overrides: timm's own arguments, such as embed_dim, depth or num_heads, that replace the named model's.

    Raises:
        UserError: where `name` is no plain ViT of timm, an option does not fit it, or an index lies outside its depth.
    """
    vit = create_timm_vit(name, img_size=img_size, stem=stem, drop_path_rate=drop_path_rate, **overrides)
    family = family_of(type(vit))
    if family.needs_prefix_tokens and not keep_prefix_tokens:
        raise UserError(f"{name} needs its prefix tokens in the blocks: set MODEL.VIT.KEEP_PREFIX_TOKENS True")
    if init_std > 0:
        initialize_linear_layers(vit, init_std, residual_scale=1 / math.sqrt(2 * len(vit.blocks)))
    if pretrained:
        load_pretrained_encoder(vit, name=name, source=pretrained, min_match=pretrained_min_match)
    drop_blocks_behind(vit, out_indices)
    for block in vit.blocks:
        block.attn.fused_attn = fused_attention
    positions = family.positions(vit)
    embedding = TokenEmbedding(vit=vit, keep_prefix_tokens=keep_prefix_tokens)
    return PlainViTEncoder(
        embedding=embedding,
        positions=positions,
        blocks=nn.ModuleList(vit.blocks),
        norm=vit.norm if final_norm else nn.Identity(),
        out_indices=out_indices,
        reduction=build_reduction(
            reduction,
            depth=len(vit.blocks),
            embed_dim=vit.embed_dim,
            num_prefix_tokens=embedding.num_prefix_tokens,
            init_std=init_std,
        ),
        gradient_checkpointing=gradient_checkpointing,
    )


def drop_blocks_behind(vit: nn.Module, out_indices: list[int]) -> None:
    """Cut a timm model, in place, to the blocks that some stage needs; without the last one its norm goes, too.

    Raises UserError where an index lies outside the depth.
    """
    depth = len(vit.blocks)
    if not out_indices or min(out_indices) < 0 or max(out_indices) >= depth:
        raise UserError(f"MODEL.VIT.OUT_INDICES {list(out_indices)} must name blocks 0 to {depth - 1}")
    if max(out_indices) < depth - 1:
        vit.blocks = vit.blocks[: max(out_indices) + 1]
        vit.norm = nn.Identity()


def create_timm_vit(
    name: str, *, img_size: tuple[int, int], stem: str = "linear", **options: int | float | bool
) -> nn.Module:
    """The timm model without its classifier, able to take any image size, its positions made for `img_size`."""
    if not timm.is_model(name):
        near = timm.list_models(f"{name.split('_')[0]}*")[:5] or ["vit_base_patch16_384"]
        raise UserError(f"MODEL.VIT.NAME {name!r} is not a timm model; some that are: {', '.join(near)}")
    if stem not in ("linear", "conv"):
        raise UserError(f"MODEL.VIT.STEM {stem!r} must be 'linear' or 'conv'")
    try:
        with torch.device("meta"):  # without weights: only its class and patch size are asked for
            probe = timm.create_model(name, num_classes=0, **options)
    except (AssertionError, TypeError) as error:
        changed = ", ".join(f"{option} {value}" for option, value in options.items())
        raise UserError(f"MODEL.VIT.NAME {name!r} cannot be built with {changed}: {error}") from error
    family = family_of(type(probe))
    patch_size = tuple(probe.patch_embed.patch_size)
    if not hasattr(probe.blocks[0], "attn"):
        raise UserError(f"MODEL.VIT.NAME {name!r} has blocks of several attentions, which SegViT cannot run")
    if stem == "conv" and not family.takes_stem:
        raise UserError(f"MODEL.VIT.STEM 'conv' does not fit {name}, whose patch embedding timm fixes: set 'linear'")
    if stem == "conv":
        stem_module = ConvStem(patch_size=patch_size[0], embed_dim=probe.embed_dim)
        options = {**options, "patch_size": 1, "embed_layer": partial(HybridEmbed, backbone=stem_module)}
    img_size = padded_size(img_size, patch_size)
    return timm.create_model(name, num_classes=0, img_size=img_size, **family.options, **options)
