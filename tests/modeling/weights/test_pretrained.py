"""`load_pretrained_encoder`: every published layout is loaded value by value, positions resized to the crop's grid."""

import argparse
import logging
import re

import pytest
import safetensors.torch
import timm
import torch
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from torch import nn

from helpers.published_weights import (
    BEIT,
    CLIP,
    DINOV2,
    TINY,
    assert_holds,
    clip_layout,
    encoder,
    load,
    published,
    save,
    save_npz,
)
from segvit.modeling.encoder.hierarchical_encoder import HierarchicalEncoder
from segvit.modeling.encoder.vit_builder import build_vit_encoder


def nested_in_teacher(state):
    teacher = {f"module.backbone.{name}": tensor for name, tensor in state.items() if not name.startswith("head.")}
    return {"student": {}, "teacher": {**teacher, "module.head.mlp.0.weight": torch.zeros(2, 2)}, "epoch": 300}


CONTAINERS = {
    "plain": lambda state: state,
    "MAE, DeiT": lambda state: {"model": state, "optimizer": {"lr": 0.1}, "args": argparse.Namespace(epochs=3)},
    "MoCo, mmpretrain": lambda state: {"state_dict": {f"module.{name}": state[name] for name in state}, "epoch": 1},
    "timm with EMA": lambda state: {
        "state_dict": {name: torch.zeros_like(state[name]) for name in state},
        "state_dict_ema": state,
    },
    "DINO": nested_in_teacher,
    "DeepSpeed": lambda state: {"module": state},
    "half precision": lambda state: {name: state[name].half().float() for name in state},
}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_weights_are_found_in_checkpoints_of_training_codes(container, suffix, tmp_path):
    state = {name: tensor.half().float() for name, tensor in published().state_dict().items()}
    path = save(tmp_path / f"weights{suffix}", CONTAINERS[container](state))
    assert_holds(load(encoder(), path), state)


def test_half_precision_files_are_loaded_in_float32(tmp_path):
    state = published().half().state_dict()
    assert_holds(load(encoder(), save(tmp_path / "half.pth", state)), state)


def test_safetensors_are_loaded(tmp_path):
    state = published().state_dict()
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    assert_holds(load(encoder(), tmp_path / "model.safetensors"), state)


def test_files_of_the_format_before_torch_1_6_are_loaded(tmp_path):
    state = published().state_dict()
    assert_holds(load(encoder(), save(tmp_path / "old.pth", state, _use_new_zipfile_serialization=False)), state)


FAMILIES = {
    "DeiT distilled": ("deit_tiny_distilled_patch16_224", 16, {}),
    "DeiT III": ("deit3_small_patch16_224", 16, {}),
    "DINOv2": ("vit_small_patch14_dinov2", 14, {}),
    "BEiT": (BEIT, 16, {}),
    "EVA": ("eva_large_patch14_196", 14, {}),
    "EVA-02": ("eva02_tiny_patch14_224", 14, {}),
    "DINOv3": ("vit_small_patch16_dinov3", 16, {}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_loaded_in_timms_layout(family, tmp_path):
    name, patch, options = FAMILIES[family]
    state = published(name, img_size=4 * patch, **options).state_dict()
    model = encoder(name, img_size=(4 * patch, 4 * patch), **options)
    load(model, save(tmp_path / "timm.pth", state), name, pretrained_min_match=0.9)
    shared = [key for key in model.state_dict() if key in state]
    assert {key for key in model.state_dict() if key not in state} <= {"norm.weight", "norm.bias"}
    assert_holds(model, state, shared)


def test_a_swin_transformer_is_loaded(tmp_path):
    small = {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 4)}
    name = "swin_tiny_patch4_window7_224"
    source = timm.create_model(name, img_size=56, num_classes=7, **small)
    for parameter in source.parameters():
        nn.init.normal_(parameter)
    path = save(tmp_path / "swin.pth", {"model": source.state_dict()})
    swin = HierarchicalEncoder(name=name, img_size=(56, 56), out_indices=[0, 1], pretrained=path, **small).swin
    assert_holds(swin, source.state_dict(), swin.state_dict())


@pytest.mark.parametrize("big_vision", [False, True], ids=["AugReg", "Big Vision"])
def test_npz_files_of_google_are_loaded(big_vision, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="segvit")
    source = published()
    assert_holds(load(encoder(), save_npz(tmp_path / "B_16.npz", source, big_vision=big_vision)), source.state_dict())
    assert "(100.0%)" in caplog.text and "ignored by design: 2 (" in caplog.text


def test_npz_of_a_deeper_model_logs_the_unused_blocks(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="segvit")
    load(encoder(depth=2), save_npz(tmp_path / "B_16.npz", published()))
    assert "unexpected in the weights: 16 (Transformer/encoderblock_2/LayerNorm_0/scale" in caplog.text


@pytest.mark.parametrize("layout", ["OpenAI", "OpenCLIP around timm"])
def test_clip_is_loaded_without_its_text_encoder(layout, tmp_path):
    state = published(CLIP).state_dict()
    content = clip_layout(state) if layout == "OpenAI" else {f"visual.trunk.{name}": state[name] for name in state}
    assert_holds(load(encoder(CLIP), save(tmp_path / "clip.pt", content), CLIP), state)


def test_the_released_dinov2_with_registers_is_loaded(tmp_path):
    """In the release the class token has a position and the registers have none; timm adds it to the class token."""
    state = published(DINOV2, img_size=56, num_classes=0).state_dict()
    class_position = torch.randn(1, 1, 48)
    official = {name: state[name] for name in state if name not in ("reg_token", "pos_embed")}
    official["pos_embed"] = torch.cat([class_position, state["pos_embed"]], dim=1)
    official |= {"register_tokens": state["reg_token"], "mask_token": torch.zeros(1, 48)}
    model = load(encoder(DINOV2, img_size=(56, 56)), save(tmp_path / "dinov2.pth", official), DINOV2)
    assert_holds(model, state | {"cls_token": state["cls_token"] + class_position})


def test_the_released_deit3_is_loaded(tmp_path):
    """The release names its layer scales gamma_1 and gamma_2."""
    name = "deit3_small_patch16_224"
    state = published(name).state_dict()
    official = {re.sub(r"ls([12])\.gamma", r"gamma_\1", key): state[key] for key in state}
    assert official.keys() != state.keys()
    assert_holds(load(encoder(name), save(tmp_path / "deit3.pth", {"model": official}), name), state)


def test_the_shared_table_of_a_beit_before_fine_tuning_is_loaded_into_every_block(tmp_path):
    state = published(BEIT, use_rel_pos_bias=False, use_shared_rel_pos_bias=True, global_pool="").state_dict()
    state |= {"mask_token": torch.zeros(1, 1, 48), "lm_head.weight": torch.zeros(9, 48)}
    model = load(encoder(BEIT), save(tmp_path / "beit_pt22k.pth", {"model": state}), BEIT)
    for block in model.blocks:
        table = block.attn.relative_position_bias_table
        assert torch.equal(table, state["rel_pos_bias.relative_position_bias_table"])


@pytest.mark.parametrize("img_size", [(96, 96), (48, 80), (80, 48), (32, 128)], ids=str)
def test_a_position_embedding_is_resized_to_the_grid_of_the_crop(img_size, tmp_path):
    """From 4 x 4 to the crop's grid, even if that has as many tokens."""
    state = published().state_dict()
    model = load(encoder(img_size=img_size), save(tmp_path / "square.pth", state))
    grid = [img_size[0] // 16, img_size[1] // 16]
    expected = resample_abs_pos_embed(state["pos_embed"], grid, old_size=[4, 4])
    assert_holds(model, state | {"pos_embed": expected})


@pytest.mark.parametrize("img_size", [(48, 80), (32, 128)], ids=str)
def test_the_position_embedding_of_an_npz_file_is_resized(img_size, tmp_path):
    source = published()
    model = load(encoder(img_size=img_size), save_npz(tmp_path / "B_16.npz", source))
    grid = [img_size[0] // 16, img_size[1] // 16]
    expected = resample_abs_pos_embed(source.state_dict()["pos_embed"], grid, old_size=[4, 4])
    assert_holds(model, source.state_dict() | {"pos_embed": expected})


def test_a_resized_position_embedding_keeps_rows_and_columns(tmp_path):
    """A position embedding that depends only on the column still does so on a grid of another shape."""
    state = published().state_dict()
    grid = torch.linspace(-1, 1, 4).expand(4, 4)  # rows alike
    state["pos_embed"] = torch.cat([torch.zeros(1, 1, 48), grid.reshape(1, 16, 1).expand(1, 16, 48)], dim=1)
    model = load(encoder(img_size=(48, 96)), save(tmp_path / "columns.pth", state))
    resized = model.pos_embed[0, 1:, 0].reshape(3, 6)
    torch.testing.assert_close(resized, resized[:1].expand(3, 6))
    assert (resized[0].diff() > 0).all()


@pytest.mark.parametrize("img_size", [(96, 96), (48, 80), (80, 48)], ids=str)
def test_tables_of_relative_positions_are_resized(img_size, tmp_path):
    state = published(BEIT, global_pool="").state_dict()
    model = load(encoder(BEIT, img_size=img_size), save(tmp_path / "beit.pth", state), BEIT)
    grid = (img_size[0] // 16, img_size[1] // 16)
    rows = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3
    tables = [name for name in state if name.endswith("relative_position_bias_table")]
    assert len(tables) == 3
    expected = {name: resize_rel_pos_bias_table(state[name], grid, (rows, 3)) for name in tables}
    assert_holds(model, state | expected)
    for name in tables:
        assert torch.equal(model.state_dict()[name][-3:], state[name][-3:])  # the class token's rows


def test_resized_tables_of_relative_positions_keep_rows_and_columns(tmp_path):
    state = published(BEIT, global_pool="").state_dict()
    table = torch.cat([torch.linspace(-1, 1, 7).expand(7, 7).reshape(49, 1), torch.zeros(3, 1)]).expand(52, 3)
    state |= {name: table for name in state if name.endswith("relative_position_bias_table")}
    model = load(encoder(BEIT, img_size=(48, 96)), save(tmp_path / "columns.pth", state), BEIT)
    resized = model.blocks[1].attn.relative_position_bias_table[:-3, 0].reshape(5, 11)
    torch.testing.assert_close(resized, resized[:1].expand(5, 11))
    assert (resized[0].diff() > 0).all()


def test_the_built_encoder_has_the_loaded_values(tmp_path):
    """`build_vit_encoder` moves BEiT's tables out of the blocks."""
    state = published(BEIT, global_pool="").state_dict()
    path = save(tmp_path / "beit.pth", state)
    built = build_vit_encoder(name=BEIT, img_size=(64, 64), out_indices=[1, 2], pretrained=path, **TINY)
    assert torch.equal(built.blocks[2].mlp.fc1.weight, state["blocks.2.mlp.fc1.weight"])
    assert torch.equal(built.embedding.cls_token, state["cls_token"])
    assert torch.equal(built.positions.tables[2], state["blocks.2.attn.relative_position_bias_table"])
