"""`from_official` and `to_official`: conversion of checkpoints is bit-exact both ways; errors name the tensors."""

from collections import OrderedDict

import pytest
import torch

from helpers.official_checkpoints import (
    LOSS_BUFFER,
    SHRUNK_LOSS_BUFFER,
    assert_equal_tensors,
    official_content,
    our_state,
)
from segvit.modeling.weights.official_checkpoint import (
    DECODER,
    ENCODER,
    from_official,
    require_fit,
    sizes_of,
    to_official,
)

HEADS = pytest.mark.parametrize("shrunk", [False, True], ids=["atm", "shrunk"])


@HEADS
def test_official_to_ours_and_back_is_bit_exact(shrunk):
    content = official_content(shrunk=shrunk)
    ours = from_official(content)
    assert ours["model"].keys() == our_state(shrunk=shrunk).keys()
    back = to_official(ours)
    assert back["meta"] == content["meta"]
    assert back.keys() == content.keys()
    assert_equal_tensors(back["state_dict"], content["state_dict"])


@HEADS
def test_ours_to_official_and_back_is_bit_exact(shrunk):
    state = our_state(shrunk=shrunk)
    official = to_official({"model": state, "optimizer": {}, "iteration": 7})
    assert set(official) == {"state_dict"}
    buffers = {name: tensor for name, tensor in official["state_dict"].items() if "empty_weight" in name}
    assert set(buffers) == ({LOSS_BUFFER, SHRUNK_LOSS_BUFFER} if shrunk else {LOSS_BUFFER})
    for tensor in buffers.values():
        assert torch.equal(tensor, torch.tensor([1, 1, 1, 1, 1, 0.1]))
    assert_equal_tensors(from_official(official)["model"], state)


@HEADS
def test_state_dicts_with_and_without_wrappers_are_converted(shrunk):
    content = official_content(shrunk=shrunk)
    expected = from_official(content)["model"]
    assert_equal_tensors(from_official(content["state_dict"])["model"], expected)
    parallel = OrderedDict((f"module.{name}", tensor) for name, tensor in content["state_dict"].items())
    assert_equal_tensors(from_official(parallel)["model"], expected)
    assert_equal_tensors(from_official({"state_dict": parallel, "meta": {}})["model"], expected)


def test_the_dtype_of_tensors_is_kept():
    content = official_content(shrunk=False)
    content["state_dict"] = {name: tensor.half() for name, tensor in content["state_dict"].items()}
    ours = from_official(content)
    assert {tensor.dtype for tensor in ours["model"].values()} == {torch.float16}
    assert_equal_tensors(to_official(ours)["state_dict"], content["state_dict"])


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
def test_an_unknown_official_name_is_reported(name):
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
    with pytest.raises(ValueError, match=r"'model' .*\['meta', 'state_dict'\]"):
        to_official(official_content(shrunk=False))
    encoder_alone = {name: tensor for name, tensor in our_state(shrunk=False).items() if name.startswith(ENCODER)}
    with pytest.raises(ValueError, match=r"class_queries.weight is missing"):
        to_official({"model": encoder_alone})


def renumbered(state):
    return {name.replace("layers.2.", "layers.9.") if "backbone" in name else name: state[name] for name in state}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "decode_head.q.weight": torch.zeros(())}, r"class_queries\.weight has the shape \(\)"),
        (lambda state: {**state, "backbone.pos_embed": state["backbone.pos_embed"].int()}, "integers: .*pos_embed"),
        (renumbered, r"missing are .*blocks\.2\..* and \d+ more"),
        (lambda state: {name: state[name] for name in state if name != "backbone.layers.2.ln1.weight"}, r"blocks\.2\."),
    ],
)
def test_broken_official_models_are_refused(change, message):
    content = official_content(shrunk=False)
    content["state_dict"] = change(content["state_dict"])
    with pytest.raises(ValueError, match=message):
        from_official(content)


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
