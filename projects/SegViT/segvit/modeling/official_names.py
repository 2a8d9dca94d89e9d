"""Parameter names of the official SegViT v1 release in ours, one to one.

Facts about the official checkpoints: `decoder_1` is the deepest stage; attention in encoder and decoder follows
`torch.nn.MultiheadAttention`, whose `in_proj_*` stacks q, k, v as timm's `qkv` does: every tensor carries over as is.
"""

from __future__ import annotations

import re

ENCODER_RULES = [
    (r"^(cls_token|pos_embed)$", r"\1"),
    (r"^patch_embed\.projection\.", r"patch_embed.proj."),
    (r"^ln1\.", r"norm."),
    (r"^layers\.(\d+)\.ln([12])\.", r"blocks.\1.norm\2."),
    (r"^layers\.(\d+)\.attn\.attn\.in_proj_", r"blocks.\1.attn.qkv."),
    (r"^layers\.(\d+)\.attn\.attn\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"^layers\.(\d+)\.ffn\.layers\.0\.0\.", r"blocks.\1.mlp.fc1."),
    (r"^layers\.(\d+)\.ffn\.layers\.1\.", r"blocks.\1.mlp.fc2."),
]

LAYER_RULES = [
    (r"^self_attn\.in_proj_", r"self_attn.qkv."),
    (r"^self_attn\.out_proj\.", r"self_attn.proj."),
    (r"^multihead_attn\.(q|k|v|proj)\.", r"cross_attn.\1."),
    (r"^linear([12])\.", r"mlp.fc\1."),
    (r"^(norm[123]\..*)$", r"\1"),
]

DECODER_RULES = [
    (r"^q\.weight$", r"class_queries.weight"),
    (r"^class_embed\.", r"class_embed."),
    (r"^input_proj_(\d+)\.", "stages.{stage}.input_proj."),
    (r"^proj_norm_(\d+)\.", "stages.{stage}.input_norm."),
]

# The loss weights travel in official checkpoints as a buffer; here they come from the config.
NOT_A_WEIGHT = re.compile(r"loss_decode\.criterion\.empty_weight$")


def encoder_name(official: str) -> str:
    """Our name of an encoder parameter, both without the "backbone." prefix. Raises KeyError for an unknown one."""
    return _first_match(ENCODER_RULES, official)


def decoder_name(official: str) -> str:
    """Our name of a decoder parameter, theirs without "decode_head.". Raises KeyError for an unknown one."""
    layer = re.match(r"^decoder_(\d+)\.layers\.(\d+)\.(.*)$", official)
    if layer:
        stage, index, rest = layer.groups()
        return f"stages.{int(stage) - 1}.layers.{index}.{_first_match(LAYER_RULES, rest)}"
    numbered = re.match(r"^(?:input_proj|proj_norm)_(\d+)\.", official)
    stage = int(numbered.group(1)) - 1 if numbered else 0
    return _first_match(DECODER_RULES, official).format(stage=stage)


def _first_match(rules: list[tuple[str, str]], name: str) -> str:
    for pattern, replacement in rules:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    raise KeyError(f"{name!r} is not a parameter of the official SegViT v1 release")
