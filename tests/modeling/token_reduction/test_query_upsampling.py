"""Query upsampling and `restore_nearest`: dropped cells are filled, padding is ignored, any grid works.

Shape shorthand: B images, h x w grid, N = h*w cells, M kept tokens, C encoder width, D decoder width.
"""

import pytest
import torch

from segvit.modeling.decoder.decoder_builder import build_decoder
from segvit.modeling.token_reduction.query_upsampling import InheritedQueryUpsampling, LearnedQueryUpsampling
from segvit.modeling.token_reduction.token_set import TokenSet, restore_nearest

B, C, D = 3, 12, 8
GRIDS = pytest.mark.parametrize("grid", [(4, 6), (5, 3), (1, 7)], ids=str)
KINDS = pytest.mark.parametrize("kind", ["learned", "inherited", "nearest"])


def draw_set(grid, *, counts=(0, 2, 3), seed=0):
    """A full map (B, C, h, w), and a padded `TokenSet` of the coarse grid and `counts` more cells per image."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.zeros(grid, dtype=torch.bool)
    coarse[::2, ::2] = True
    keeps = coarse.flatten().expand(len(counts), -1).clone()
    others = (~coarse.flatten()).nonzero().flatten()
    for keep, count in zip(keeps, counts, strict=True):
        keep[others[torch.randperm(len(others), generator=generator)[:count]]] = True
    lengths = keeps.sum(dim=1)
    cells = keeps.int().argsort(dim=1, descending=True, stable=True)[:, : lengths.max()]
    valid = torch.arange(cells.shape[1]) < lengths[:, None]
    tokens = torch.randn(*cells.shape, C, generator=generator)
    stored = torch.randn(len(counts), C, *grid, generator=generator)
    return stored, TokenSet(tokens, cells, None if valid.all() else valid, grid)


def build(kind, grid=(4, 6), num_layers=2):
    torch.manual_seed(0)
    options = {"in_dims": [C, C], "dim": D, "num_layers": num_layers, "num_heads": 2, "dropout": 0.0}
    if kind == "learned":
        return LearnedQueryUpsampling(grid_size=grid, **options).eval()
    return InheritedQueryUpsampling(adds_nearest=kind == "nearest", **options).eval()


@GRIDS
def test_a_dropped_cell_takes_the_coarse_cell_above_and_left(grid):
    _, kept = draw_set(grid)
    restored = restore_nearest(kept.tokens, kept, grid)
    for image in range(B):
        valid = slice(None) if kept.valid is None else kept.valid[image]
        token_at = dict(zip(kept.indices[image][valid].tolist(), kept.tokens[image][valid], strict=True))
        for cell in range(grid[0] * grid[1]):
            row, column = divmod(cell, grid[1])
            nearest = cell if cell in token_at else (row // 2 * 2) * grid[1] + column // 2 * 2
            assert torch.equal(restored[image, cell], token_at[nearest])


@GRIDS
def test_a_halved_map_is_restored_from_its_nearest_cells(grid):
    halved = torch.arange(float(((grid[0] + 1) // 2) * ((grid[1] + 1) // 2))).view(
        1, 1, (grid[0] + 1) // 2, (grid[1] + 1) // 2
    )
    restored = restore_nearest(halved.flatten(2).mT, halved, grid)
    expected = halved.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[..., : grid[0], : grid[1]]
    assert torch.equal(restored[..., 0].unflatten(1, grid), expected[:, 0])


@pytest.mark.parametrize(
    ("kind", "num_layers"), [("learned", 2), ("inherited", 2), ("nearest", 2), ("nearest", 0)], ids=str
)
@GRIDS
@torch.no_grad()
def test_batched_equals_one_by_one(kind, num_layers, grid):
    stored, kept = draw_set(grid)
    module = build(kind, grid, num_layers)
    restored = module([stored, kept])
    assert restored.shape == (B, D, *grid)
    for image in range(B):
        valid = slice(None) if kept.valid is None else kept.valid[image]
        alone = TokenSet(kept.tokens[image][valid][None], kept.indices[image][valid][None], None, grid)
        expected = module([stored[image : image + 1], alone])
        torch.testing.assert_close(restored[image : image + 1], expected, rtol=1e-5, atol=1e-6)


@KINDS
@torch.no_grad()
def test_other_grids_than_that_of_training_are_restored(kind):
    module, (stored, kept) = build(kind), draw_set((3, 5))
    assert module([stored, kept]).shape == (B, D, 3, 5)


@pytest.mark.parametrize(("kind", "num_layers"), [("inherited", 2), ("nearest", 2), ("nearest", 0)])
def test_every_valid_token_and_every_stored_cell_gets_a_gradient(kind, num_layers):
    stored, kept = draw_set((4, 6))
    stored.requires_grad_()
    kept.tokens.requires_grad_()
    module = build(kind, num_layers=num_layers)
    module([stored, kept]).pow(3).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert stored.grad.abs().sum(dim=1).all()
    has_gradient = kept.tokens.grad.abs().sum(dim=2) > 0
    assert torch.equal(has_gradient, kept.valid)


@KINDS
@torch.no_grad()
def test_a_stage_may_be_a_halved_map(kind):
    stored, halved = torch.randn(2, C, 5, 6), torch.randn(2, C, 3, 3)
    assert build(kind, (5, 6))([stored, halved]).shape == (2, D, 5, 6)


def test_other_numbers_of_stages_and_kinds_are_refused():
    options = {"grid_size": (4, 6), "num_classes": 3, "hidden_dim": D, "num_layers": 1, "num_heads": 2}
    with pytest.raises(ValueError, match=r"'nearest' reads two stages, .* `in_dims` has 3"):
        build_decoder(in_dims=[C] * 3, query_upsampling="nearest", upsampling_layers=1, **options)
    for kind in ("learned", "inherited"):
        with pytest.raises(ValueError, match=f"upsampling_layers 0: '{kind}' queries need a layer"):
            build_decoder(in_dims=[C] * 2, query_upsampling=kind, upsampling_layers=0, **options)
    with pytest.raises(ValueError, match="'bilinear'"):
        build_decoder(in_dims=[C] * 2, query_upsampling="bilinear", upsampling_layers=1, **options)
