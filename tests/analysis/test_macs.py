"""`count_macs` and `count_params`: equal to hand-computed numbers and to fvcore."""

import pytest
import timm
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.nn import functional as F

from segvit.analysis import count_macs, count_module_macs, count_params, weightless_copy
from segvit.modeling import SegViT


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def attention(query, key, value):
    return F.scaled_dot_product_attention(query, key, value)


CASES = {
    "linear": (nn.Linear(8, 5), [(2, 7, 8)], 2 * 7 * 8 * 5),
    "linear without bias": (nn.Linear(8, 5, bias=False), [(2, 7, 8)], 2 * 7 * 8 * 5),
    "convolution": (nn.Conv2d(4, 6, 3, padding=1, groups=2), [(2, 4, 5, 7)], 2 * 6 * 2 * 9 * 5 * 7),
    "attention": (Call(attention), [(2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 4)], 2 * 3 * 7 * 9 * (4 + 4)),
    "attention, wide values": (Call(attention), [(2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 6)], 2 * 3 * 7 * 9 * (4 + 6)),
    "matmul": (Call(torch.matmul), [(2, 3, 7, 4), (2, 3, 4, 9)], 2 * 3 * 7 * 4 * 9),
    "broadcast matmul": (Call(torch.matmul), [(7, 4), (2, 4, 9)], 2 * 7 * 4 * 9),
    "baddbmm": (Call(torch.baddbmm), [(2, 1, 1), (2, 7, 4), (2, 4, 9)], 2 * 7 * 4 * 9),
    "einsum": (Call(lambda a, b: torch.einsum("bqc,bqhw->bchw", a, b)), [(2, 7, 5), (2, 7, 3, 4)], 2 * 7 * 5 * 3 * 4),
    "layer norm": (nn.LayerNorm(8), [(2, 7, 8)], 5 * 2 * 7 * 8),
    "batch norm": (nn.BatchNorm2d(4).eval(), [(2, 4, 5, 7)], 2 * 2 * 4 * 5 * 7),
    "upsampling": (nn.UpsamplingBilinear2d((6, 10)), [(2, 4, 3, 5)], 4 * 2 * 4 * 6 * 10),
    "elementwise": (nn.GELU(), [(2, 7)], 0),
}


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("case", CASES)
def test_counts_equal_hand_computed_numbers(case, device):
    module, shapes, expected = CASES[case]
    module = weightless_copy(module) if device == "meta" else module
    assert count_module_macs(module, *(torch.ones(shape, device=device) for shape in shapes)) == expected


def test_counts_equal_fvcores():
    """On a model all of whose operators fvcore counts: a ViT with unfused attention."""
    vit = timm.create_model("vit_tiny_patch16_224", img_size=48, depth=2, num_classes=7, global_pool="").eval()
    for block in vit.blocks:
        block.attn.fused_attn = False
    images = torch.rand(1, 3, 48, 48)
    fvcore = FlopCountAnalysis(vit, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert count_module_macs(weightless_copy(vit), images.to("meta")) == fvcore.total()


class BilinearUpsampling(nn.Module):
    """Scores (B, K, h, w) at the given size."""

    def forward(self, scores, size):
        return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def tiny_model(channels=3):
    """4 channels at half the size, 4 -> 5 classes, upsampling."""
    return SegViT(
        encoder=nn.Conv2d(channels, 4, 2, stride=2, bias=False),
        head=nn.Sequential(nn.Dropout(0.5), nn.Conv2d(4, 5, 1)),
        inference=BilinearUpsampling(),
        patch_size=2,
        pixel_mean=channels * [0.0],
        pixel_std=channels * [1.0],
    )


@pytest.mark.parametrize("channels", [3, 5])
def test_parameters_and_macs_are_counted_by_part(channels):
    model = tiny_model(channels)
    weights = channels * 4 * 4
    assert count_params(model) == {"total": weights + 25, "backbone": weights, "sem_seg_head": 25}
    macs = count_macs(model, (8, 12))
    expected = {"backbone": weights * 24, "sem_seg_head": 4 * 5 * 24, "inference": 4 * 5 * 8 * 12}
    assert macs == {"total": sum(expected.values()), **expected}
    assert all(isinstance(value, int) for value in macs.values())


def test_counting_leaves_the_model_unchanged():
    model = tiny_model()
    count_macs(model, (8, 8))
    assert model.training
    assert model.head.training
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


def test_weightless_copy_keeps_shared_parameters():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    clone = weightless_copy(model)
    assert clone[0].weight is clone[1].weight
    assert clone[0].weight.is_meta
