"""`HierarchicalEncoder`: Swin's stages equal timm's features, and feed a decoder at several resolutions.

Shape shorthand: stage s has stride 4 * 2**s and width 24 * 2**s.
"""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.decoder.atm_decoder import ATMDecoder
from segvit.modeling.encoder.hierarchical_encoder import HierarchicalEncoder

NAME = "swin_tiny_patch4_window7_224"
SWIN = {"embed_dim": 24, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 3, 4)}


def build_swin(img_size=(64, 96), out_indices=(1, 2, 3), **options):
    encoder = HierarchicalEncoder(name=NAME, img_size=img_size, out_indices=list(out_indices), **options, **SWIN)
    twin = timm.create_model(NAME, num_classes=0, img_size=img_size, **SWIN).double().eval()
    torch.manual_seed(0)
    for parameter in encoder.double().eval().parameters():
        nn.init.normal_(parameter, std=0.2)
    keys = twin.load_state_dict(encoder.swin.state_dict(), strict=False)
    assert keys.unexpected_keys == [] and all(key.startswith(("norm.", "layers.3.")) for key in keys.missing_keys)
    return encoder, twin


def assert_stages(stages, expected):
    assert len(stages) == len(expected)
    for actual, feature_map in zip(stages.values(), expected, strict=True):
        torch.testing.assert_close(actual, feature_map, rtol=1e-6, atol=1e-6)


def draw(size, batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("img_size", [(64, 96), (128, 128)], ids=str)
@torch.no_grad()
def test_stages_equal_timms_intermediates(img_size, out_indices):
    encoder, twin = build_swin(img_size, out_indices, drop_path_rate=0.5)
    stages = encoder(draw(img_size))
    assert list(stages) == [f"stage{index}" for index in out_indices]
    for index, channels, stride in zip(out_indices, encoder.channels, encoder.strides, strict=True):
        assert stages[f"stage{index}"].shape == (2, channels, img_size[0] // stride, img_size[1] // stride)
        assert (channels, stride) == (24 * 2**index, 4 * 2**index)
    expected = twin.forward_intermediates(
        draw(img_size), indices=list(out_indices), intermediates_only=True, norm=False
    )
    assert_stages(stages, expected)


@torch.no_grad()
def test_odd_sizes_are_padded():
    encoder, _ = build_swin()
    expected = encoder(F.pad(draw((61, 90)), (0, 6, 0, 3)))
    assert_stages(encoder(draw((61, 90))), list(expected.values()))


def test_stages_feed_the_decoder():
    """Stages of different resolution, deepest first: masks have the finest grid, and every weight gets a gradient."""
    encoder, _ = build_swin()
    decoder = ATMDecoder(num_classes=5, in_dims=encoder.channels[::-1], hidden_dim=24, num_layers=1, num_heads=2)
    outputs = decoder.double().train()(list(encoder.train()(draw((64, 96))).values())[::-1])
    assert outputs["pred_masks"].shape == (2, 5, 8, 12)
    assert [auxiliary["pred_masks"].shape[2:] for auxiliary in outputs["aux_outputs"]] == [(2, 3), (4, 6)]
    (outputs["pred_masks"].square().mean() + outputs["pred_logits"].square().mean()).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vit_tiny_patch16_224"}, "^name 'vit_tiny_patch16_224' is not a Swin Transformer"),
        ({"name": NAME, "out_indices": [4]}, r"^out_indices \[4\] must name stages 0 to 3"),
    ],
)
def test_other_models_and_stages_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        HierarchicalEncoder(**({"img_size": (64, 64), "out_indices": [0]} | options))
