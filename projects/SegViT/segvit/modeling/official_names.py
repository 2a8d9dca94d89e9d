"""Parameter names of the official SegViT v1 release in ours, one to one, for plain and Shrunk models.

Facts about the official checkpoints: in the plain head `decoder_1` is the deepest stage; in the Shrunk head it is the
early, full-resolution stage of the query up-sampling, and the class queries live under `atm.`. Attention follows
`torch.nn.MultiheadAttention`, whose `in_proj_*` stacks q, k, v as timm's `qkv` does: every tensor carries over as is.
"""

from __future__ import annotations

import re

ENCODER_RULES = [
    (r"(cls_token|pos_embed)", r"embedding.\1"),
    (r"patch_embed\.projection\.(weight|bias)", r"embedding.patch_embed.proj.\1"),
    (r"ln1\.(weight|bias)", r"norm.\1"),
    (r"layers\.(\d+)\.ln([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
    (r"layers\.(\d+)\.attn\.attn\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
    (r"layers\.(\d+)\.attn\.attn\.out_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
    (r"layers\.(\d+)\.ffn\.layers\.0\.0\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (r"layers\.(\d+)\.ffn\.layers\.1\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
]

LAYER_RULES = [
    (r"self_attn\.in_proj_(weight|bias)", r"self_attn.qkv.\1"),
    (r"self_attn\.out_proj\.(weight|bias)", r"self_attn.proj.\1"),
    (r"multihead_attn\.in_proj_(weight|bias)", r"cross_attn.qkv.\1"),
    (r"multihead_attn\.out_proj\.(weight|bias)", r"cross_attn.proj.\1"),
    (r"multihead_attn\.(q|k|v|proj)\.(weight|bias)", r"cross_attn.\1.\2"),
    (r"linear([12])\.(weight|bias)", r"mlp.fc\1.\2"),
    (r"(norm[123]\.(?:weight|bias))", r"\1"),
]

# Layers and projections of a numbered stage; a Shrunk head's own ones belong to the query up-sampling.
STAGE_RULES = [
    (r"input_proj_(\d+)\.(weight|bias)", r"input_proj.\2"),
    (r"proj_norm_(\d+)\.(weight|bias)", r"input_norm.\2"),
]

# The loss weights travel in official checkpoints as a buffer; here they come from the config.
NOT_A_WEIGHT = re.compile(r"loss_decode\.criterion\.empty_weight$")


def encoder_name(official: str) -> str:
    """Our name of an encoder parameter, both without the "backbone." prefix. Raises KeyError for an unknown one."""
    return _translate(ENCODER_RULES, official)


def decoder_name(official: str, *, shrunk: bool = False) -> str:
    """Our name of a decoder parameter, theirs without "decode_head.". Raises KeyError for an unknown one."""
    if official.startswith("atm."):
        return re.sub(r"^stages\.0\.", "", decoder_name(official.removeprefix("atm.")))
    if official == "q.weight":
        return "upsampling.queries.weight" if shrunk else "class_queries.weight"
    if official in ("class_embed.weight", "class_embed.bias"):
        return official
    return ("upsampling." if shrunk else "") + _stage_name(official)


def _stage_name(official: str) -> str:
    layer = re.fullmatch(r"decoder_(\d+)\.layers\.(\d+)\.(.*)", official)
    if layer:
        stage, index, rest = layer.groups()
        return f"stages.{int(stage) - 1}.layers.{index}.{_translate(LAYER_RULES, rest)}"
    name = _translate(STAGE_RULES, official)
    stage = int(re.search(r"\d+", official).group()) - 1
    return f"stages.{stage}.{name}"


def _translate(rules: list[tuple[str, str]], name: str) -> str:
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    raise KeyError(f"{name!r} is not a parameter of the official SegViT v1 release")
