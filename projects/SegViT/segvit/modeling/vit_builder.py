"""Build a plain-ViT encoder by its timm name, whole or with a few sizes overridden."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import timm
from timm.layers import HybridEmbed
from timm.models import VisionTransformer

from segvit.modeling.conv_stem import ConvStem
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.vit_encoder import PlainViTEncoder


def build_vit_encoder(
    *,
    name: str,
    img_size: tuple[int, int],
    out_indices: list[int],
    pretrained: str = "",
    keep_prefix_tokens: bool = False,
    final_norm: bool = False,
    drop_path_rate: float = 0.0,
    stem: str = "linear",
    init_std: float = 0.0,
    fused_attention: bool = True,
    **overrides: int | float | bool,
) -> PlainViTEncoder:
    """Build the encoder.

    Args:
        name: a timm model name without its tag, such as "vit_base_patch16_384".
        img_size: (H, W) in pixels that the position embedding covers.
        out_indices: 0-based blocks that become stages.
        pretrained: "" for random weights, a timm tag, or a local file that timm reads.
        keep_prefix_tokens, final_norm: see `PlainViTEncoder`.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        stem: "linear" or "conv".
        init_std: standard deviation for Linear layers, residual outputs scaled by 1 / sqrt(2 depth); 0 keeps timm's.
        fused_attention: let the blocks use `scaled_dot_product_attention`. Plain matrix products are faster for
            bfloat16 training on a CPU (3 x at 660 tokens, 3 heads of 64: docs/efficiency.md).
        **overrides: timm's own arguments, such as embed_dim, depth or num_heads, that replace the named model's.

    Raises:
        ValueError: where `name` is no timm model or no plain ViT, or `stem` is unknown.
    """
    if not timm.is_model(name):
        near = timm.list_models(f"{name.split('_')[0]}*")[:5] or ["vit_base_patch16_384"]
        raise ValueError(f"MODEL.VIT.NAME {name!r} is not a timm model; some that are: {', '.join(near)}")
    if stem not in ("linear", "conv"):
        raise ValueError(f"MODEL.VIT.STEM {stem!r} must be 'linear' or 'conv'")
    options = {**_pretrained_options(name, pretrained), **overrides, "drop_path_rate": drop_path_rate}
    if stem == "conv":
        options |= _conv_stem_options(name, img_size, options)
    vit = timm.create_model(img_size=img_size, num_classes=0, global_pool="", dynamic_img_size=True, **options)
    if not isinstance(vit, VisionTransformer):
        raise ValueError(f"MODEL.VIT.NAME {name!r} is a {type(vit).__name__}, not a plain VisionTransformer of timm")
    if init_std > 0:
        initialize_linear_layers(vit, init_std, residual_scale=1 / math.sqrt(2 * len(vit.blocks)))
    for block in vit.blocks:
        block.attn.fused_attn = fused_attention
    return PlainViTEncoder(
        vit=vit, out_indices=out_indices, keep_prefix_tokens=keep_prefix_tokens, final_norm=final_norm
    )


def _pretrained_options(name: str, pretrained: str) -> dict[str, object]:
    if not pretrained:
        return {"model_name": name}
    if Path(pretrained).is_file():
        return {"model_name": name, "pretrained": True, "pretrained_cfg_overlay": {"file": pretrained}}
    return {"model_name": f"{name}.{pretrained}", "pretrained": True}


def _conv_stem_options(name: str, img_size: tuple[int, int], options: dict[str, object]) -> dict[str, object]:
    """timm's arguments that put a `ConvStem` in front: the stem strides by the patch size, the projection by 1."""
    patch_size, embed_dim = options.get("patch_size"), options.get("embed_dim")
    if not (patch_size and embed_dim):
        raise ValueError(f"a convolutional stem for {name!r} needs MODEL.VIT.PATCH_SIZE and MODEL.VIT.EMBED_DIM")
    stem = ConvStem(patch_size=int(patch_size), embed_dim=int(embed_dim))
    embed_layer = partial(HybridEmbed, backbone=stem)
    return {"patch_size": 1, "embed_layer": embed_layer}
