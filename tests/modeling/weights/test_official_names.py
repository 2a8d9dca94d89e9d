"""Official parameter names map one to one onto ours, on a model of two blocks and three stages."""

import pytest

from segvit.modeling.decoder.decoder_builder import build_decoder
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.weights.official_names import NOT_A_WEIGHT, decoder_name, encoder_name

BLOCKS, STAGES, LAYERS = 2, 3, 2


def pairs(*names):
    return [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]


def official_encoder_names():
    names = ["cls_token", "pos_embed", *pairs("patch_embed.projection", "ln1")]
    for index in range(BLOCKS):
        block = f"layers.{index}"
        names += pairs(f"{block}.ln1", f"{block}.ln2", f"{block}.attn.attn.out_proj")
        names += pairs(f"{block}.ffn.layers.0.0", f"{block}.ffn.layers.1")
        names += [f"{block}.attn.attn.in_proj_{kind}" for kind in ("weight", "bias")]
    return names


def official_layer_names(layer, cross_attention):
    names = [f"{layer}.self_attn.in_proj_{kind}" for kind in ("weight", "bias")]
    names += pairs(*(f"{layer}.{part}" for part in ("self_attn.out_proj", "linear1", "linear2")))
    return names + pairs(*(f"{layer}.{part}" for part in ("norm1", "norm2", "norm3", *cross_attention)))


SEPARATE = [f"multihead_attn.{part}" for part in ("q", "k", "v", "proj")]


def official_decoder_names():
    names = ["q.weight", *pairs("class_embed")]
    for stage in range(1, STAGES + 1):
        names += pairs(f"input_proj_{stage}", f"proj_norm_{stage}")
        for index in range(LAYERS):
            names += official_layer_names(f"decoder_{stage}.layers.{index}", SEPARATE)
    return names


def official_shrunk_names():
    """Two stages of query upsampling, whose cross-attention stacks q, k and v, and one ATM stage."""
    names = ["q.weight", "atm.q.weight", *pairs("atm.class_embed")]
    for stage in (1, 2):
        names += pairs(f"input_proj_{stage}", f"proj_norm_{stage}")
        for index in range(LAYERS):
            layer = f"decoder_{stage}.layers.{index}"
            names += official_layer_names(layer, ["multihead_attn.out_proj"])
            names += [f"{layer}.multihead_attn.in_proj_{kind}" for kind in ("weight", "bias")]
    for index in range(LAYERS):
        names += official_layer_names(f"atm.decoder_1.layers.{index}", SEPARATE)
    return names


def assert_one_to_one(mapped, parameters):
    assert len(mapped) == len(set(mapped))
    assert set(mapped) == set(parameters)


def test_names_of_the_encoder_map_one_to_one():
    encoder = build_vit_encoder(
        name="vit_tiny_patch16_224",
        img_size=(32, 32),
        out_indices=[1],
        final_norm=True,
        embed_dim=12,
        depth=BLOCKS,
        num_heads=2,
    )
    assert_one_to_one([encoder_name(name) for name in official_encoder_names()], encoder.state_dict())


def build(query_upsampling, num_stages):
    return build_decoder(
        in_dims=[8] * num_stages,
        grid_size=(2, 2),
        query_upsampling=query_upsampling,
        num_classes=3,
        hidden_dim=8,
        num_layers=LAYERS,
        upsampling_layers=LAYERS,
        num_heads=2,
    )


def test_names_of_the_decoder_map_one_to_one():
    decoder = build("none", STAGES)
    assert_one_to_one([decoder_name(name) for name in official_decoder_names()], decoder.state_dict())


def test_names_of_the_shrunk_decoder_map_one_to_one():
    decoder = build("learned", 2)
    mapped = [decoder_name(name, shrunk=True) for name in official_shrunk_names()]
    assert_one_to_one(mapped, decoder.state_dict())


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        ("decoder_1.layers.0.self_attn.in_proj_weight", "stages.0.layers.0.self_attn.qkv.weight"),
        ("decoder_3.layers.1.multihead_attn.k.bias", "stages.2.layers.1.cross_attn.k.bias"),
        ("input_proj_2.weight", "stages.1.input_proj.weight"),
        ("proj_norm_1.bias", "stages.0.input_norm.bias"),
        ("q.weight", "class_queries.weight"),
    ],
)
def test_decoder_1_is_the_first_stage(official, ours):
    assert decoder_name(official) == ours


@pytest.mark.parametrize(
    ("mapping", "name"),
    [
        (encoder_name, "layers.0.attn.attn.rotary"),
        (encoder_name, "backbone.cls_token"),
        (encoder_name, "mask_token"),
        (decoder_name, "decoder_1.layers.0.norm4.weight"),
        (decoder_name, "decoder_1.norm.weight"),
        (decoder_name, "conv_seg.weight"),
    ],
)
def test_unknown_names_are_refused(mapping, name):
    with pytest.raises(KeyError, match="is not a parameter of the official SegViT v1 release"):
        mapping(name)


def test_loss_weights_are_not_parameters():
    assert NOT_A_WEIGHT.search("decode_head.loss_decode.criterion.empty_weight")
    assert not any(NOT_A_WEIGHT.search(name) for name in official_encoder_names() + official_decoder_names())
