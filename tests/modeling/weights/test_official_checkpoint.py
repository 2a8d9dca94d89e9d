"""Conversion of official checkpoints to ours and back, on a tiny model with each head."""

import importlib.util
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from helpers.repository import PROJECT
from segvit.modeling.decoder.decoder_builder import build_decoder
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig
from segvit.modeling.weights.official_checkpoint import (
    DECODER,
    ENCODER,
    from_official,
    require_fit,
    sizes_of,
    to_official,
)

TOOL = PROJECT / "tools" / "convert_official_checkpoint.py"
BUFFER = "decode_head.loss_decode.criterion.empty_weight"
ATM_BUFFER = "decode_head.atm.loss_decode.criterion.empty_weight"
HEADS = pytest.mark.parametrize("shrunk", [False, True], ids=["atm", "shrunk"])

CONFIG = """
MODEL:
  META_ARCHITECTURE: "SegViT"
  VIT:
    NAME: "vit_tiny_patch16_224"
    IMG_SIZE: [{size}, {size}]
    EMBED_DIM: {width}
    DEPTH: {depth}
    NUM_HEADS: 2
    OUT_INDICES: {indices}
    KEEP_PREFIX_TOKENS: {keep}
    REDUCTION: "{reduction}"
    REDUCTION_BLOCK: 1
  SEM_SEG_HEAD:
    NUM_CLASSES: {classes}
    IN_FEATURES: {features}
  SEGVIT:
    HIDDEN_DIM: {dim}
    NUM_HEADS: 2
    NUM_LAYERS: {layers}
    QUERY_UPSAMPLING: "{upsampling}"
    UPSAMPLING_LAYERS: {layers}
"""
PLAIN = {
    "size": 64,
    "width": 24,
    "depth": 3,
    "indices": [0, 2],
    "features": ["block2", "block0"],
    "keep": False,
    "reduction": "none",
    "classes": 5,
    "dim": 16,
    "layers": 2,
    "upsampling": "none",
}
SHRUNK = {**PLAIN, "reduction": "shrunk", "upsampling": "learned"}


def load_tool():
    spec = importlib.util.spec_from_file_location(TOOL.stem, TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def our_state(*, shrunk, seed=0):
    """The state dict of a model of three blocks of width 24, two stages, K = 5."""
    torch.manual_seed(seed)
    encoder = build_vit_encoder(
        name="vit_tiny_patch16_224",
        img_size=(64, 64),
        out_indices=[0, 2],
        keep_prefix_tokens=False,
        reduction=ReductionConfig(kind="shrunk", block_index=1) if shrunk else None,
        embed_dim=24,
        depth=3,
        num_heads=2,
    )
    decoder = build_decoder(
        in_dims=[24, 24],
        grid_size=(4, 4),
        query_upsampling="learned" if shrunk else "none",
        num_classes=5,
        hidden_dim=16,
        num_layers=2,
        upsampling_layers=2,
        num_heads=2,
    )
    state = {ENCODER + name: tensor for name, tensor in encoder.state_dict().items()}
    return state | {DECODER + name: tensor for name, tensor in decoder.state_dict().items()}


def official_content(*, shrunk):
    """The content of an official file, with loss weights other than the default."""
    content = to_official({"model": our_state(shrunk=shrunk)})
    for name in [BUFFER, ATM_BUFFER] if shrunk else [BUFFER]:
        content["state_dict"][name] = torch.rand(6)
    return {"meta": {"CLASSES": ("a", "b"), "epoch": 3, "config": "model = dict()"}, **content}


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, tensor in actual.items():
        assert tensor.dtype == expected[name].dtype and torch.equal(tensor, expected[name]), name


@HEADS
def test_official_to_ours_and_back_is_bit_exact(shrunk):
    content = official_content(shrunk=shrunk)
    ours = from_official(content)
    assert ours["model"].keys() == our_state(shrunk=shrunk).keys()
    back = to_official(ours)
    assert back["meta"] == content["meta"]
    assert back.keys() == content.keys()
    assert_same(back["state_dict"], content["state_dict"])


@HEADS
def test_ours_to_official_and_back_is_bit_exact(shrunk):
    state = our_state(shrunk=shrunk)
    official = to_official({"model": state, "optimizer": {}, "iteration": 7})
    assert set(official) == {"state_dict"}
    buffers = {name: tensor for name, tensor in official["state_dict"].items() if "empty_weight" in name}
    assert set(buffers) == ({BUFFER, ATM_BUFFER} if shrunk else {BUFFER})
    for tensor in buffers.values():
        assert torch.equal(tensor, torch.tensor([1, 1, 1, 1, 1, 0.1]))
    assert_same(from_official(official)["model"], state)


@HEADS
def test_wrapped_state_dicts(shrunk):
    content = official_content(shrunk=shrunk)
    expected = from_official(content)["model"]
    assert_same(from_official(content["state_dict"])["model"], expected)
    parallel = OrderedDict((f"module.{name}", tensor) for name, tensor in content["state_dict"].items())
    assert_same(from_official(parallel)["model"], expected)
    assert_same(from_official({"state_dict": parallel, "meta": {}})["model"], expected)


def test_half_precision_is_kept():
    content = official_content(shrunk=False)
    content["state_dict"] = {name: tensor.half() for name, tensor in content["state_dict"].items()}
    ours = from_official(content)
    assert {tensor.dtype for tensor in ours["model"].values()} == {torch.float16}
    assert_same(to_official(ours)["state_dict"], content["state_dict"])


@pytest.mark.parametrize(
    "name",
    [
        "decode_head.conv_seg.weight",
        "backbone.mask_token",
        "auxiliary_head.q.weight",
        "backbone.layers.0.attn.attn.rotary",
        "decode_head.input_proj_0.weight",
        "decode_head.decoder_1.layers.0.multihead_attn.in_proj_weight",
    ],
)
def test_unknown_official_key_is_named(name):
    content = official_content(shrunk=False)
    content["state_dict"][name] = torch.zeros(1)
    with pytest.raises(ValueError, match=rf"no official SegViT v1 checkpoint has: {name}$"):
        from_official(content)


@pytest.mark.parametrize("name", [f"{ENCODER}blocks.0.ls1.gamma", f"{DECODER}edge.weight", "pixel_mean"])
def test_tensors_that_the_official_release_lacks_are_named(name):
    with pytest.raises(ValueError, match=f"has no place for: {name}$"):
        to_official({"model": {**our_state(shrunk=False), name: torch.zeros(1)}})


def test_incomplete_models_are_refused():
    with pytest.raises(ValueError, match=r"not a complete SegViT model: .*patch_embed"):
        from_official({"state_dict": {}})
    with pytest.raises(ValueError, match=r"these entries are not tensors: epoch"):
        from_official({"epoch": 3})
    with pytest.raises(ValueError, match=r"no 'model' in the checkpoint, which holds \['meta', 'state_dict'\]"):
        to_official(official_content(shrunk=False))
    encoder_alone = {name: tensor for name, tensor in our_state(shrunk=False).items() if name.startswith(ENCODER)}
    with pytest.raises(ValueError, match=r"class_queries.weight is missing"):
        to_official({"model": encoder_alone})


@HEADS
def test_sizes_are_read_from_the_tensors(shrunk):
    state = our_state(shrunk=shrunk)
    sizes = sizes_of(state)
    assert (sizes.head, sizes.classes, sizes.width, sizes.depth) == ("Shrunk" if shrunk else "ATM", 5, 24, 3)
    assert (sizes.stages, sizes.decoder_width, sizes.decoder_layers) == (2, 16, 2)
    assert (sizes.patch, sizes.positions) == (16, 16)
    assert sizes.parameters == sum(tensor.numel() for tensor in state.values())
    assert "grid 4 x 4 (crop 64)" in sizes.describe()


def test_another_shape_with_equal_sizes_is_refused_by_name():
    state = our_state(shrunk=False)
    other = {**state, f"{ENCODER}blocks.0.mlp.fc1.bias": torch.zeros(50)}
    require_fit(state, state)
    with pytest.raises(
        ValueError, match=r"blocks\.0\.mlp\.fc1\.bias: \(96,\) in the checkpoint, \(50,\) in the config"
    ):
        require_fit(state, other)


def convert(*arguments):
    load_tool().main([str(argument) for argument in arguments])


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        convert(*arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def official_file(tmp_path):
    """An official file, alone in its folder."""
    (tmp_path / "files").mkdir()
    path = tmp_path / "files" / "official.pth"
    torch.save(official_content(shrunk=False), path)
    return path


def write_config(path, values):
    path.write_text(CONFIG.format(**values))
    return path


@HEADS
def test_tool_both_ways(shrunk, tmp_path, capsys):
    content = official_content(shrunk=shrunk)
    torch.save(content, tmp_path / "official.pth")
    config = write_config(tmp_path / "config.yaml", SHRUNK if shrunk else PLAIN)
    convert(tmp_path / "official.pth", tmp_path / "ours.pth", "--config-file", config)
    printed = capsys.readouterr().out
    for fact in ("Shrunk head" if shrunk else "ATM head", "5 classes", "width 24", "3 blocks", "crop 64", "2 stages"):
        assert fact in printed
    convert(tmp_path / "ours.pth", tmp_path / "back.pth", "--to-official", "--config-file", config)
    assert "left out" not in capsys.readouterr().out
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back["meta"] == content["meta"]
    assert_same(back["state_dict"], content["state_dict"])


def test_tool_reports_what_it_leaves_out(tmp_path, capsys):
    torch.save({"model": our_state(shrunk=False), "iteration": 9, "optimizer": {}}, tmp_path / "model_final.pth")
    convert(tmp_path / "model_final.pth", tmp_path / "official.pth", "--to-official")
    assert "no place for it: iteration, optimizer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 11}, "classes: 5 in the checkpoint, 11 in the config"),
        ({"width": 32}, "width: 24 in the checkpoint, 32 in the config"),
        (
            {"depth": 4, "indices": [0, 3], "features": ["block3", "block0"]},
            "depth: 3 in the checkpoint, 4 in the config",
        ),
        ({"indices": [2], "features": ["block2"]}, "stages: 2 in the checkpoint, 1 in the config"),
        ({"size": 96}, "positions: 16 in the checkpoint, 36 in the config"),
        ({"dim": 32}, "decoder width: 16 in the checkpoint, 32 in the config"),
        ({"layers": 3}, "decoder layers: 2 in the checkpoint, 3 in the config"),
        ({"reduction": "shrunk", "upsampling": "learned"}, "head: ATM in the checkpoint, Shrunk in the config"),
        ({"keep": True}, "set MODEL.VIT.KEEP_PREFIX_TOKENS False"),
        ({"reduction": "shrunk"}, "needs MODEL.VIT.REDUCTION 'none'"),
    ],
)
def test_tool_refuses_checkpoints_that_do_not_fit_the_config(changes, message, tmp_path, official_file, capsys):
    config = write_config(tmp_path / "config.yaml", {**PLAIN, **changes})
    output = official_file.parent / "ours.pth"
    assert message in refusal(capsys, official_file, output, "--config-file", config)
    assert os.listdir(official_file.parent) == ["official.pth"]


def test_depth_beyond_the_last_stage_does_not_count(tmp_path, official_file):
    """The encoder drops blocks after the last stage, and the checkpoint has none."""
    config = write_config(tmp_path / "config.yaml", {**PLAIN, "depth": 4, "indices": [0, 2]})
    convert(official_file, official_file.parent / "ours.pth", "--config-file", config)


class Code:
    """An object that cannot be read without running code, as an official `meta` may hold."""


@pytest.mark.parametrize("where", ["meta", "state_dict"])
def test_tool_refuses_code(where, official_file, capsys):
    content = official_content(shrunk=False)
    content[where]["hook"] = Code()
    torch.save(content, official_file)
    message = refusal(capsys, official_file, official_file.parent / "ours.pth")
    assert "official.pth contains code" in message and "re-save its tensors" in message
    assert os.listdir(official_file.parent) == ["official.pth"]


def test_tool_refuses_an_existing_file(official_file, capsys):
    output = official_file.parent / "ours.pth"
    output.write_text("precious")
    assert "ours.pth exists; --overwrite replaces it" in refusal(capsys, official_file, output)
    assert output.read_text() == "precious"
    convert(official_file, output, "--overwrite")
    assert "model" in torch.load(output, weights_only=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.pth", "ours.pth"], "nowhere.pth does not exist"),
        (["official.pth", "nowhere/ours.pth"], "there is no folder nowhere"),
        (["official.pth", "ours.pth", "--config-file", "nowhere.yaml"], "config file 'nowhere.yaml' does not exist"),
        (["official.pth", "ours.pth", "--to-official"], "no 'model' in the checkpoint"),
    ],
)
def test_tool_explains_wrong_arguments(arguments, message, official_file, monkeypatch, capsys):
    monkeypatch.chdir(official_file.parent)
    assert message in refusal(capsys, *arguments)
    assert os.listdir() == ["official.pth"]


def test_truncated_file(official_file, capsys):
    official_file.write_bytes(official_file.read_bytes()[:-2000])
    assert "corrupt or truncated" in refusal(capsys, official_file, official_file.parent / "ours.pth")


@pytest.mark.parametrize("before", [None, "precious"])
def test_a_failed_write_leaves_the_folder_as_it_was(before, official_file, monkeypatch, capsys):
    output = official_file.parent / "ours.pth"
    if before:
        output.write_text(before)

    def fail(content, file):
        Path(file).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    assert "no space left" in refusal(capsys, official_file, output, "--overwrite")
    assert sorted(os.listdir(official_file.parent)) == sorted(["official.pth", *(["ours.pth"] if before else [])])
    assert not before or output.read_text() == before
