"""Errors of `load_pretrained_encoder`: weights that do not fit the encoder or do not exist."""

import logging
import os

import huggingface_hub
import pytest
import safetensors.torch
import torch

from helpers.published_weights import (
    BEIT,
    CLIP,
    NAME,
    assert_holds,
    clip_layout,
    encoder,
    load,
    published,
    save,
    save_npz,
)
from segvit.errors import ArgumentError


def without(state, count):
    """`state` without its last tensors."""
    return dict(list(state.items())[: len(state) - count])


def test_too_few_matching_tensors_are_refused_with_their_names(tmp_path):
    model = encoder()
    state = without({name: tensor for name, tensor in published().state_dict().items() if "head" not in name}, 4)
    path = save(tmp_path / "ninety.pth", state | {"odd.weight": torch.zeros(1), "head.bias": torch.zeros(1)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load(model, path)
    message = str(error.value)
    assert f"pretrained {path} does not fit {NAME}: 38 of 42 tensors of the model matched (90.5%)" in message
    names = "blocks.2.mlp.fc2.weight, blocks.2.mlp.fc2.bias, norm.weight, norm.bias"
    assert f"missing in the weights: 4 ({names})" in message
    assert "unexpected in the weights: 1 (odd.weight)" in message
    assert "ignored by design: 1 (head.bias)" in message
    assert "`pretrained_min_match` 95.0%" in message
    assert_holds(model, before)


def test_fewer_matching_tensors_are_accepted_with_a_lower_minimum(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="segvit")
    state = published().state_dict()
    path = save(tmp_path / "ninety.pth", {name: state[name] for name in state if ".1.norm" not in name})
    model = encoder()
    kept = model.state_dict()["blocks.1.norm1.weight"].clone()
    load(model, path, pretrained_min_match=0.9)
    assert torch.equal(model.state_dict()["blocks.1.norm1.weight"], kept)
    assert_holds(model, state, [name for name in model.state_dict() if ".1.norm" not in name])
    assert f"Pre-trained weights of {path} for {NAME}: 38 of 42 tensors" in caplog.text
    assert "missing in the weights: 4 (blocks.1.norm1.weight, blocks.1.norm1.bias, blocks.1.norm2" in caplog.text
    assert "ignored by design: 2 (head.weight, head.bias)" in caplog.text


def test_another_width_is_refused_with_both_shapes(tmp_path):
    path = save(tmp_path / "wide.pth", published(embed_dim=96).state_dict())
    with pytest.raises(ValueError) as error:
        load(encoder(), path)
    assert "of another shape: 42 (cls_token (1, 1, 96) in the weights, (1, 1, 48) in the model, " in str(error.value)
    assert " and 22 more)" in str(error.value)


def test_npz_of_another_width_is_refused(tmp_path):
    path = save_npz(tmp_path / "wide.npz", published(embed_dim=96))
    with pytest.raises(ValueError, match=r"wide\.npz .*3 blocks of width 48.*96"):
        load(encoder(), path)


def test_npz_of_a_shallower_model_is_refused(tmp_path):
    path = save_npz(tmp_path / "flat.npz", published(depth=2))
    with pytest.raises(ValueError, match=r"flat\.npz .*3 blocks.*encoderblock_2"):
        load(encoder(), path)


def test_npz_is_refused_for_other_models_than_plain_vits(tmp_path):
    path = save_npz(tmp_path / "B_16.npz", published())
    with pytest.raises(ValueError, match="into its VisionTransformer only, not Beit"):
        load(encoder(BEIT), path, BEIT)


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_another_patch_size_is_refused(suffix, tmp_path):
    source, path = published(patch_size=8), tmp_path / f"patch8{suffix}"
    save_npz(path, source) if suffix == ".npz" else save(path, source.state_dict())
    with pytest.raises(ValueError) as error:
        load(encoder(), path)
    message = str(error.value)
    assert message.startswith(f"pretrained {path}") and "8 x 8" in message and "16 x 16" in message


def test_another_patch_size_of_clip_is_refused(tmp_path):
    path = save(tmp_path / "clip.pt", clip_layout(published(CLIP, patch_size=32).state_dict()))
    with pytest.raises(ValueError, match=r"32 x 32 .* 16 x 16"):
        load(encoder(CLIP), path, CLIP)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("suffix", ["pth", "npz"])
def test_weights_that_are_nan_or_infinite_are_refused(suffix, value, tmp_path):
    """One tensor of 42: without the check it would be loaded, or pass as missing in an .npz file."""
    source = published()
    with torch.no_grad():
        source.blocks[1].mlp.fc1.weight.fill_(value)
    path = tmp_path / f"diverged.{suffix}"
    save_npz(path, source) if suffix == "npz" else save(path, source.state_dict())
    model = encoder()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"diverged\.\w+: 1 of .*blocks\.1\.mlp\.fc1\.weight"):
        load(model, path)
    assert_holds(model, before)


def test_a_file_without_tensors_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"notes\.pth holds no tensors, only \['epoch', 'lr'\]"):
        load(encoder(), save(tmp_path / "notes.pth", {"epoch": 3, "lr": 0.1}))
    with pytest.raises(ValueError, match=r"list\.pth holds a list, not a dict of tensors"):
        load(encoder(), save(tmp_path / "list.pth", [torch.zeros(2)]))


@pytest.mark.parametrize("min_match", [-0.1, 95])
def test_the_minimum_match_is_a_fraction(min_match):
    with pytest.raises(ArgumentError, match=r"^pretrained_min_match .* must lie in 0 to 1"):
        load(encoder(), "unread.pth", pretrained_min_match=min_match)


@pytest.mark.parametrize("path", ["weights/vit.pth", "vit.safetensors", "B_16.npz", "weights/vit", "~/nowhere.bin"])
def test_a_missing_path_is_not_looked_up_on_the_hub(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError) as error:
        load(encoder(), path)
    message = str(error.value)
    assert message.startswith(f"pretrained '{os.path.expanduser(path)}'") and str(tmp_path) in message


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="is a folder, not a file"):
        load(encoder(), tmp_path)


def test_an_unknown_tag_is_refused_with_the_tags_of_the_model():
    expected = r"'mae' is neither a file nor a tag .*; tags of vit_tiny_patch16_224 are augreg_in21k, augreg_in21k_ft"
    with pytest.raises(ValueError, match=expected):
        load(encoder(), "mae")
    with pytest.raises(ValueError, match="timm lists none for vit_base_patch32_plus_256"):
        load(encoder(), "mae", "vit_base_patch32_plus_256")


@pytest.fixture
def offline_hub(tmp_path, monkeypatch):
    """An empty hub cache, and no connection."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path / "hub"


@pytest.mark.parametrize("tag", ["augreg_in21k", f"{NAME}.augreg_in21k"])
def test_without_a_connection_the_error_names_the_file_to_download_and_the_cache(tag, offline_hub):
    with pytest.raises(ArgumentError) as error:
        load(encoder(), tag)
    message = str(error.value)
    assert "https://huggingface.co/timm/vit_tiny_patch16_224.augreg_in21k/resolve/main/model.safetensors" in message
    assert "`pretrained`" in message
    assert str(offline_hub / "models--timm--vit_tiny_patch16_224.augreg_in21k") in message


def test_a_file_in_the_hub_cache_is_used(offline_hub, caplog):
    """In the folder that the error names, in the layout of the hub's client."""
    caplog.set_level(logging.INFO, logger="segvit")
    folder, source = offline_hub / "models--timm--vit_tiny_patch16_224.augreg_in21k", published()
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    safetensors.torch.save_file(source.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    assert_holds(load(encoder(), "augreg_in21k"), source.state_dict())
    assert "Pre-trained weights of https://huggingface.co/timm/vit_tiny_patch16_224.augreg_in21k for" in caplog.text


def test_weights_that_are_not_on_the_hub_are_named_with_their_address():
    with pytest.raises(ArgumentError, match=r"'in22k_ijepa' .*https://\S+"):
        load(encoder(), "in22k_ijepa", "vit_giant_patch16_gap_224")
