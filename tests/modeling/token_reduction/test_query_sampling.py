"""The reducing block of Shrunk: each mode against the block written out head by head.

Shape shorthand: B images, h x w grid, T prefix tokens, M kept tokens, C width.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.token_reduction.reducing_block import MODES
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig

C, P = 24, 8
SIZES = {"patch_size": P, "embed_dim": C, "depth": 3, "num_heads": 2}
VIT, BEIT, DINOV3 = "vit_tiny_patch16_224", "beit_base_patch16_224", "vit_small_patch16_dinov3"
GRIDS = pytest.mark.parametrize("grid", [(4, 6), (5, 3), (1, 7)], ids=str)


def build(mode, grid, name=VIT, block_index=1, kind="shrunk"):
    torch.manual_seed(0)
    encoder = build_vit_encoder(
        name=name,
        img_size=(grid[0] * P, grid[1] * P),
        out_indices=[0, 1, 2],
        reduction=ReductionConfig(kind=kind, block_index=block_index, mode=mode),
        **SIZES,
    )
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.2)
    return encoder.eval()


def draw(grid):
    return torch.randn(2, 3, grid[0] * P, grid[1] * P, generator=torch.Generator().manual_seed(1))


def by_hand(block, queries, normed, residual):
    """timm's pre-norm block with given queries, head by head."""
    weight, bias = block.attn.qkv.weight.split(C), block.attn.qkv.bias.split(C)
    q, k, v = (F.linear(x, weight[i], bias[i]) for i, x in enumerate((queries, normed, normed)))
    heads = []
    for q_head, k_head, v_head in zip(*(x.split(C // 2, dim=2) for x in (q, k, v)), strict=True):
        heads.append((q_head @ k_head.mT / (C // 2) ** 0.5).softmax(dim=2) @ v_head)
    residual = residual + block.attn.proj(torch.cat(heads, dim=2))
    return residual + block.mlp(block.norm2(residual))


@GRIDS
@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_the_reducing_block_equals_the_written_out_block(mode, grid):
    """With the class token; odd grids round up."""
    encoder, images = build(mode, grid), draw(grid)
    tokens, *_ = encoder.embedding(images)
    tokens = encoder.blocks[0](tokens)
    cells = torch.arange(grid[0] * grid[1]).unflatten(0, grid)[::2, ::2]
    kept = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + cells.flatten()])
    block = encoder.blocks[1]
    normed = block.norm1(tokens)
    if mode == "conv_q":
        feature_map = normed[:, 1:].mT.unflatten(2, grid)
        convolved = F.conv2d(feature_map, *encoder.reduction.query_conv.parameters(), stride=2, padding=1)
        assert convolved.shape == (2, C, *cells.shape)
        queries = torch.cat([normed[:, :1], convolved.flatten(2).mT], dim=1)
    else:
        queries = normed[:, kept]
    keys = normed[:, kept] if mode == "nearest_qkv" else normed
    after = by_hand(block, queries, keys, tokens[:, kept])
    stages = encoder(images)
    for name, expected in (("block1", after), ("block2", encoder.blocks[2](after))):
        torch.testing.assert_close(stages[name], expected[:, 1:].mT.unflatten(2, cells.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [BEIT, DINOV3])
@torch.no_grad()
def test_dropping_before_a_block_equals_dropping_after_the_previous_block(name):
    """Position biases belong to the kept cells of the whole grid in both cases."""
    grid = (4, 6)
    dropped_before = build("nearest_qkv", grid, name, block_index=2)
    dropped_after = build("nearest_q", grid, name, block_index=1)
    dropped_after.load_state_dict(dropped_before.state_dict())
    stages = [encoder(draw(grid))["block2"] for encoder in (dropped_before, dropped_after)]
    assert stages[0].shape == (2, C, 2, 3)
    torch.testing.assert_close(*stages, rtol=1e-4, atol=1e-5)


def test_the_convolution_learns_and_keeps_its_name_in_checkpoints():
    encoder = build("conv_q", (5, 3))
    encoder(draw((5, 3)))["block2"].square().sum().backward()
    assert all(parameter.grad.any() for parameter in encoder.reduction.parameters())
    names = [name for name in encoder.state_dict() if name.startswith("reduction.")]
    assert names == ["reduction.sampling.conv.weight", "reduction.sampling.conv.bias"]


@pytest.mark.parametrize(
    ("name", "kind", "mode", "message"),
    [
        (VIT, "shrunk", "conv", "'conv' must be 'nearest_q', 'nearest_qkv' or 'conv_q'"),
        (VIT, "shrunk++", "conv_q", r"'conv_q' .*`kind` 'shrunk', not 'shrunk\+\+'"),
        (BEIT, "shrunk", "conv_q", r"'conv_q' .*VisionTransformer.* 'nearest_q'"),
    ],
)
def test_modes_that_do_not_fit_are_refused(name, kind, mode, message):
    with pytest.raises(ArgumentError, match=f"^mode {message}"):
        build(mode, (4, 6), name, kind=kind)


def test_the_default_mode_is_the_papers_choice():
    encoder = build_vit_encoder(
        name=VIT, img_size=(32, 32), out_indices=[2], reduction=ReductionConfig(kind="shrunk", block_index=1), **SIZES
    )
    assert encoder.reduction.mode == "nearest_q" and not list(encoder.reduction.parameters())
