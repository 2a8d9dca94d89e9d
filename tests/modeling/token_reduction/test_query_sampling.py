"""How the reducing block of Shrunk runs: each way against the block written out.

Shape shorthand: B images, h x w grid, T prefix tokens, M kept tokens, C width.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.token_reduction.query_downsampling import QueryDownsampling
from segvit.modeling.token_reduction.reduction_builder import TokenReduction, build_reduction

C, P = 24, 8
SIZES = {"patch_size": P, "embed_dim": C, "depth": 3, "num_heads": 2}
VIT, BEIT, DINOV3 = "vit_tiny_patch16_224", "beit_base_patch16_224", "vit_small_patch16_dinov3"
SAMPLINGS = ("nearest_q", "nearest_qkv", "conv_q")
GRIDS = pytest.mark.parametrize("grid", [(4, 6), (5, 3), (1, 7)], ids=str)


def build(sampling, grid, name=VIT, block_index=1):
    torch.manual_seed(0)
    encoder = build_vit_encoder(
        name=name,
        img_size=(grid[0] * P, grid[1] * P),
        out_indices=[0, 1, 2],
        reduction=TokenReduction(kind="shrunk", block_index=block_index, sampling=sampling),
        **SIZES,
    )
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.2)
    return encoder.eval()


def draw(grid):
    return torch.randn(2, 3, grid[0] * P, grid[1] * P, generator=torch.Generator().manual_seed(1))


def by_hand(block, queries, normed, residual):
    """timm's pre-norm block with queries of our own, head by head."""
    weight, bias = block.attn.qkv.weight.split(C), block.attn.qkv.bias.split(C)
    q, k, v = (F.linear(x, weight[i], bias[i]) for i, x in enumerate((queries, normed, normed)))
    heads = []
    for q_head, k_head, v_head in zip(*(x.split(C // 2, dim=2) for x in (q, k, v)), strict=True):
        heads.append((q_head @ k_head.mT / (C // 2) ** 0.5).softmax(dim=2) @ v_head)
    residual = residual + block.attn.proj(torch.cat(heads, dim=2))
    return residual + block.mlp(block.norm2(residual))


@GRIDS
@pytest.mark.parametrize("sampling", SAMPLINGS)
@torch.no_grad()
def test_the_reducing_block(sampling, grid):
    """Class token included; odd grids round up."""
    encoder, images = build(sampling, grid), draw(grid)
    tokens, _ = encoder.embedding(images)
    tokens = encoder.blocks[0](tokens)
    cells = torch.arange(grid[0] * grid[1]).unflatten(0, grid)[::2, ::2]
    kept = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + cells.flatten()])
    block = encoder.blocks[1]
    normed = block.norm1(tokens)
    if sampling == "conv_q":
        feature_map = normed[:, 1:].mT.unflatten(2, grid)
        convolved = F.conv2d(feature_map, *encoder.reduction.sampling.conv.parameters(), stride=2, padding=1)
        assert convolved.shape == (2, C, *cells.shape)
        queries = torch.cat([normed[:, :1], convolved.flatten(2).mT], dim=1)
    else:
        queries = normed[:, kept]
    keys = normed[:, kept] if sampling == "nearest_qkv" else normed
    after = by_hand(block, queries, keys, tokens[:, kept])
    stages = encoder(images)
    for name, expected in (("block1", after), ("block2", encoder.blocks[2](after))):
        torch.testing.assert_close(stages[name], expected[:, 1:].mT.unflatten(2, cells.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [BEIT, DINOV3])
@torch.no_grad()
def test_dropping_before_the_block_is_dropping_behind_the_one_before(name):
    """Positions are those of the kept cells in the whole grid: behind either block, the same tokens meet."""
    grid = (4, 6)
    dropped_before, dropped_behind = build("nearest_qkv", grid, name, 2), build("nearest_q", grid, name, 1)
    dropped_behind.load_state_dict(dropped_before.state_dict())
    stages = [encoder(draw(grid))["block2"] for encoder in (dropped_before, dropped_behind)]
    assert stages[0].shape == (2, C, 2, 3)
    torch.testing.assert_close(*stages, rtol=1e-4, atol=1e-5)


def test_the_convolution_learns():
    encoder = build("conv_q", (5, 3))
    encoder(draw((5, 3)))["block2"].square().sum().backward()
    assert all(parameter.grad.any() for parameter in encoder.reduction.sampling.parameters())


def test_the_convolution_is_refused_where_queries_cannot_be_given():
    encoder = build("conv_q", (4, 6), BEIT)
    with pytest.raises(ValueError, match=r"MODEL\.VIT\.REDUCTION_SAMPLING 'conv_q' needs blocks .* set 'nearest_q'"):
        encoder(draw((4, 6)))


@pytest.mark.parametrize(
    ("kind", "sampling", "message"),
    [
        ("shrunk", "conv", "'conv' must be 'nearest_q', 'nearest_qkv' or 'conv_q'"),
        ("shrunk++", "conv_q", r"'conv_q' fits MODEL\.VIT\.REDUCTION 'shrunk', not 'shrunk\+\+'"),
    ],
)
def test_choices_that_do_not_fit(kind, sampling, message):
    reduction = TokenReduction(kind=kind, block_index=1, sampling=sampling)
    with pytest.raises(ValueError, match=rf"MODEL\.VIT\.REDUCTION_SAMPLING {message}"):
        build_reduction(reduction, depth=3, embed_dim=C, num_prefix_tokens=1, init_std=0.0)


def test_default_is_the_papers_choice():
    reduction = TokenReduction(kind="shrunk", block_index=1)
    built = build_reduction(reduction, depth=3, embed_dim=C, num_prefix_tokens=1, init_std=0.0)
    assert isinstance(built, QueryDownsampling) and not list(built.parameters())
