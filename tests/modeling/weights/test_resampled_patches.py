"""Pre-trained weights on larger patches: resized patches get the tokens that the old embedding gives the old ones."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.published_weights import BEIT, CLIP, DINOV2, NAME, encoder, flax_layout, load, published, save
from segvit.errors import ArgumentError


def tokens_of(model, patches):
    """(B, 3, P, P) -> (B, C)"""
    return F.conv2d(patches, model.patch_embed.proj.weight, model.patch_embed.proj.bias).flatten(1)


def assert_resampled(model, source, mode="bicubic"):
    small = torch.rand(4, 3, *source.patch_embed.patch_size)
    large = F.interpolate(small, size=model.patch_embed.patch_size, mode=mode, antialias=mode == "bicubic")
    torch.testing.assert_close(tokens_of(model, large), tokens_of(source, small), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model.blocks[0].mlp.fc1.weight, source.blocks[0].mlp.fc1.weight)


@pytest.mark.parametrize(("name", "old"), [(NAME, 8), (CLIP, 8), (DINOV2, 7), (BEIT, 8), ("eva02_tiny_patch14_224", 7)])
def test_every_family_is_resampled(name, old, tmp_path):
    source = published(name, patch_size=old, img_size=4 * old)
    path = save(tmp_path / "weights.pth", source.state_dict())
    assert_resampled(load(encoder(name, patch_size=16), path, name, resample_patches=True), source)


def test_npz_files_are_resampled(tmp_path):
    source = published(patch_size=8, img_size=32)
    np.savez(tmp_path / "weights.npz", **flax_layout(source.state_dict(), heads=3, big_vision=False))
    assert_resampled(load(encoder(patch_size=16), tmp_path / "weights.npz", resample_patches=True), source, "bilinear")


def test_without_asking_another_patch_size_is_refused_with_the_way_to_ask(tmp_path):
    path = save(tmp_path / "weights.pth", published(patch_size=8, img_size=32).state_dict())
    with pytest.raises(ArgumentError, match="`resample_patches` True"):
        load(encoder(patch_size=16), path)
