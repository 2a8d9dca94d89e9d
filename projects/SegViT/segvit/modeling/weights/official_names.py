"""Parameter names of the official SegViT v1 release and ours, one to one both ways, for plain and Shrunk models.

Facts about the official checkpoints: in the plain head `decoder_1` is the deepest stage; in the Shrunk head it is the
early, full-resolution stage of the query up-sampling, and the class queries live under `atm.`. Attention follows
`torch.nn.MultiheadAttention`, whose `in_proj_*` stacks q, k, v as timm's `qkv` does: every tensor carries over as is.
"""

from __future__ import annotations

import re

# A rule is a pair of names, theirs and ours, with fields in braces; FIELDS says what may stand there. Numbers are the
# same on both sides, but for stages, which the official release counts from 1.
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


def _below(theirs: str, ours: str, rules: list[Rule]) -> list[Rule]:
    return [(theirs + left, ours + right) for left, right in rules]


STAGE_LAYER = ("decoder_{stage}.layers.{layer}.", "stages.{stage}.layers.{layer}.")
PLAIN_RULES = [*CLASS_RULES, *STAGE_RULES, *_below(*STAGE_LAYER, ATM_LAYER_RULES)]
SHRUNK_RULES = [
    *_below("atm.", "", CLASS_RULES),
    *_below("atm.decoder_1.layers.{layer}.", "layers.{layer}.", ATM_LAYER_RULES),
    ("q.weight", "upsampling.queries.weight"),
    *_below("", "upsampling.", [*STAGE_RULES, *_below(*STAGE_LAYER, UPSAMPLING_LAYER_RULES)]),
]

# The loss weights travel in official checkpoints as a buffer; here they come from the config.
NOT_A_WEIGHT = re.compile(r"loss_decode\.criterion\.empty_weight$")


def encoder_name(official: str) -> str:
    """Our name of an encoder parameter, both without the "backbone." prefix. Raises KeyError for an unknown one."""
    return _to_ours(ENCODER_RULES, official)


def decoder_name(official: str, *, shrunk: bool = False) -> str:
    """Our name of a decoder parameter, theirs without "decode_head.". Raises KeyError for an unknown one."""
    return _to_ours(SHRUNK_RULES if shrunk else PLAIN_RULES, official)


def official_encoder_name(ours: str) -> str:
    """The inverse of `encoder_name`. Raises KeyError for a parameter that the official release does not have."""
    return _to_theirs(ENCODER_RULES, ours)


def official_decoder_name(ours: str, *, shrunk: bool = False) -> str:
    """The inverse of `decoder_name`. Raises KeyError for a parameter that the official release does not have."""
    return _to_theirs(SHRUNK_RULES if shrunk else PLAIN_RULES, ours)


def _to_ours(rules: list[Rule], name: str) -> str:
    for theirs, ours in rules:
        fields = _match(theirs, name)
        if fields is not None and fields.get("stage") != "0":
            return ours.format_map(_shifted(fields, -1))
    raise KeyError(f"{name!r} is not a parameter of the official SegViT v1 release")


def _to_theirs(rules: list[Rule], name: str) -> str:
    for theirs, ours in rules:
        fields = _match(ours, name)
        if fields is not None:
            return theirs.format_map(_shifted(fields, 1))
    raise KeyError(f"{name!r} has no counterpart in the official SegViT v1 release")


def _match(template: str, name: str) -> dict[str, str] | None:
    """What stands in the fields of a template; None where the name does not follow it."""
    pattern = re.sub(
        r"\\\{(\w+)\\\}", lambda field: f"(?P<{field[1]}>{FIELDS.get(field[1], NUMBER)})", re.escape(template)
    )
    match = re.fullmatch(pattern, name)
    return None if match is None else match.groupdict()


def _shifted(fields: dict[str, str], step: int) -> dict[str, str]:
    return {name: str(int(value) + step) if name == "stage" else value for name, value in fields.items()}
