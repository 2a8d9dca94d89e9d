"""Parameter names of the official SegViT v1 release and ours, one to one in both directions, for ATM and Shrunk heads.

In the official plain head, `decoder_1` is the deepest stage. In the Shrunk head it is the early, full-resolution stage
of the query upsampling, and the class queries are under `atm.`. Official attention layers follow
`torch.nn.MultiheadAttention`, whose `in_proj_*` stacks q, k and v as timm's `qkv` does, so no tensor changes its shape.
"""

from __future__ import annotations

import re

# A rule is a pair (official name, our name) with fields in braces. A field matches its pattern in FIELDS, or a number.
# Both names have the same numbers, except that official stages count from 1.
Rule = tuple[str, str]
FIELDS = {"kind": "weight|bias", "qkv": "q|k|v|proj", "two": "[12]", "three": "[123]"}
NUMBER = r"0|[1-9]\d*"

ENCODER_RULES: list[Rule] = [
    ("cls_token", "embedding.cls_token"),
    ("pos_embed", "embedding.pos_embed"),
    ("patch_embed.projection.{kind}", "embedding.patch_embed.proj.{kind}"),
    ("ln1.{kind}", "norm.{kind}"),
    ("layers.{block}.ln{two}.{kind}", "blocks.{block}.norm{two}.{kind}"),
    ("layers.{block}.attn.attn.in_proj_{kind}", "blocks.{block}.attn.qkv.{kind}"),
    ("layers.{block}.attn.attn.out_proj.{kind}", "blocks.{block}.attn.proj.{kind}"),
    ("layers.{block}.ffn.layers.0.0.{kind}", "blocks.{block}.mlp.fc1.{kind}"),
    ("layers.{block}.ffn.layers.1.{kind}", "blocks.{block}.mlp.fc2.{kind}"),
]

LAYER_RULES: list[Rule] = [
    ("self_attn.in_proj_{kind}", "self_attn.qkv.{kind}"),
    ("self_attn.out_proj.{kind}", "self_attn.proj.{kind}"),
    ("linear{two}.{kind}", "mlp.fc{two}.{kind}"),
    ("norm{three}.{kind}", "norm{three}.{kind}"),
]
ATM_LAYER_RULES = [*LAYER_RULES, ("multihead_attn.{qkv}.{kind}", "cross_attn.{qkv}.{kind}")]
UPSAMPLING_LAYER_RULES = [
    *LAYER_RULES,
    ("multihead_attn.in_proj_{kind}", "cross_attn.qkv.{kind}"),
    ("multihead_attn.out_proj.{kind}", "cross_attn.proj.{kind}"),
]

CLASS_RULES: list[Rule] = [("q.weight", "class_queries.weight"), ("class_embed.{kind}", "class_embed.{kind}")]
STAGE_RULES: list[Rule] = [
    ("input_proj_{stage}.{kind}", "stages.{stage}.input_proj.{kind}"),
    ("proj_norm_{stage}.{kind}", "stages.{stage}.input_norm.{kind}"),
]


def _with_prefix(official_prefix: str, our_prefix: str, rules: list[Rule]) -> list[Rule]:
    return [(official_prefix + official, our_prefix + ours) for official, ours in rules]


STAGE_LAYER = ("decoder_{stage}.layers.{layer}.", "stages.{stage}.layers.{layer}.")
PLAIN_RULES = [*CLASS_RULES, *STAGE_RULES, *_with_prefix(*STAGE_LAYER, ATM_LAYER_RULES)]
SHRUNK_RULES = [
    *_with_prefix("atm.", "", CLASS_RULES),
    *_with_prefix("atm.decoder_1.layers.{layer}.", "layers.{layer}.", ATM_LAYER_RULES),
    ("q.weight", "upsampling.queries.weight"),
    *_with_prefix("", "upsampling.", [*STAGE_RULES, *_with_prefix(*STAGE_LAYER, UPSAMPLING_LAYER_RULES)]),
]

# Official checkpoints hold the loss weights as a buffer; here they come from the config.
NOT_A_WEIGHT = re.compile(r"loss_decode\.criterion\.empty_weight$")


def encoder_name(official: str) -> str:
    """Our name of an encoder parameter; `official` comes without "backbone.". Raises KeyError for an unknown name."""
    return _to_ours(ENCODER_RULES, official)


def decoder_name(official: str, *, shrunk: bool = False) -> str:
    """Our name of a decoder parameter; `official` comes without "decode_head.". Raises KeyError for an unknown name."""
    return _to_ours(SHRUNK_RULES if shrunk else PLAIN_RULES, official)


def official_encoder_name(name: str) -> str:
    """The inverse of `encoder_name`. Raises KeyError for a parameter that the official release lacks."""
    return _to_official(ENCODER_RULES, name)


def official_decoder_name(name: str, *, shrunk: bool = False) -> str:
    """The inverse of `decoder_name`. Raises KeyError for a parameter that the official release lacks."""
    return _to_official(SHRUNK_RULES if shrunk else PLAIN_RULES, name)


def _to_ours(rules: list[Rule], name: str) -> str:
    for official, ours in rules:
        fields = _match(official, name)
        if fields is not None and fields.get("stage") != "0":
            return ours.format_map(_shift_stage(fields, -1))
    raise KeyError(f"{name!r} is not a parameter of the official SegViT v1 release")


def _to_official(rules: list[Rule], name: str) -> str:
    for official, ours in rules:
        fields = _match(ours, name)
        if fields is not None:
            return official.format_map(_shift_stage(fields, 1))
    raise KeyError(f"{name!r} has no counterpart in the official SegViT v1 release")


def _match(template: str, name: str) -> dict[str, str] | None:
    """The values of a template's fields in a name; None if the name does not match."""
    pattern = re.sub(
        r"\\\{(\w+)\\\}", lambda field: f"(?P<{field[1]}>{FIELDS.get(field[1], NUMBER)})", re.escape(template)
    )
    match = re.fullmatch(pattern, name)
    return None if match is None else match.groupdict()


def _shift_stage(fields: dict[str, str], step: int) -> dict[str, str]:
    return {name: str(int(value) + step) if name == "stage" else value for name, value in fields.items()}
