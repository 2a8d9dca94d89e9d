"""Tokens of cells: which cells stay fine, the tokens of the others, and their places on the grid.

Shape shorthand: B images, h x w grid, N = h*w patches, Q cells of 2 x 2 patches, T prefix tokens, C width.
"""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segvit.errors import ArgumentError
from segvit.modeling.token_reduction.cell_reduction import CellReduction, cell_similarities, num_fine_cells
from segvit.modeling.token_reduction.cell_tokens import corner_indices
from segvit.modeling.token_reduction.edge_head import EdgeHead
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig, build_reduction

T, C = 2, 8
GRIDS = st.tuples(st.integers(1, 7), st.integers(1, 7))


def build(*, edges=True, selection="topk", threshold=0.5, keep_ratio=0.5, weighs_sizes=False):
    return CellReduction(
        num_prefix_tokens=T,
        embed_dim=C,
        edge_head=EdgeHead(embed_dim=C) if edges else None,
        selection=selection,
        threshold=threshold,
        keep_ratio=keep_ratio,
        weighs_sizes=weighs_sizes,
    )


def draw(grid, *, batch=3, seed=0):
    """Tokens (B, T + N, C) and edge logits (B, 2, h, w)."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(batch, T + grid[0] * grid[1], C, generator=generator)
    return tokens, 3 * torch.randn(batch, 2, *grid, generator=generator)


def cells_of(grid):
    """The patches of each cell, row by row."""
    for row, column in itertools.product(range(grid[0] // 2), range(grid[1] // 2)):
        first = 2 * row * grid[1] + 2 * column
        yield [first, first + 1, first + grid[1], first + grid[1] + 1]


@settings(deadline=None, max_examples=40)
@given(grid=GRIDS, seed=st.integers(0, 1000), selection=st.sampled_from(["threshold", "topk"]))
def test_cells_without_an_edge_become_their_mean_and_all_else_stays(grid, seed, selection):
    tokens, logits = draw(grid, seed=seed)
    reduction = build(selection=selection)
    kept_tokens, kept = reduction(tokens, grid, logits)
    restored = kept.restore(kept_tokens[:, T:])
    scores = logits.softmax(1)[:, 1].flatten(1)
    assert torch.equal(kept_tokens[:, :T], tokens[:, :T])
    for image in range(len(tokens)):
        patches = tokens[image, T:]
        expected, fine = patches.clone(), torch.ones(len(patches), dtype=torch.bool)
        ranked = sorted(cells_of(grid), key=lambda cell: -scores[image, cell].max())
        for rank, cell in enumerate(ranked):
            is_fine = scores[image, cell].max() > 0.5 if selection == "threshold" else rank < num_fine_cells(grid, 0.5)
            if not is_fine:
                expected[cell], fine[cell] = patches[cell].mean(0), False
        torch.testing.assert_close(restored[image], expected)
        assert torch.equal(kept.own_tokens[image].flatten(), fine)
        count = kept_tokens.shape[1] if kept.valid is None else int(kept.valid[image].sum())
        assert count == T + int(fine.sum()) + int((~fine).sum()) // 4


@given(grid=GRIDS, share=st.floats(0.01, 1))
def test_a_share_is_met_to_within_two_tokens_where_the_grid_allows_it(grid, share):
    fine, cells = num_fine_cells(grid, share), (grid[0] // 2) * (grid[1] // 2)
    tokens = grid[0] * grid[1] - 3 * (cells - fine)
    assert 0 <= fine <= cells
    assert abs(tokens - share * grid[0] * grid[1]) < 2 or fine in (0, cells)
    assert num_fine_cells(grid, 1.0) == cells


def test_similarities_are_the_mean_cosine_of_all_pairs():
    tokens, _ = draw((4, 6), batch=1)
    patches = tokens[:, T:]
    places = corner_indices((4, 6), patches.device)
    for similarity, cell in zip(cell_similarities(patches, places)[0], cells_of((4, 6)), strict=True):
        pairs = [torch.cosine_similarity(*patches[0, list(pair)], dim=0) for pair in itertools.combinations(cell, 2)]
        torch.testing.assert_close(similarity, torch.stack(pairs).mean())


@pytest.mark.parametrize("selection", ["threshold", "topk"])
def test_merging_keeps_the_cells_whose_tokens_differ(selection):
    tokens, _ = draw((4, 4), batch=1)
    same = [0, 1, 4, 5]
    tokens[0, T + torch.tensor(same)] = tokens[0, T].clone()
    _, kept = build(edges=False, selection=selection, threshold=0.9, keep_ratio=13 / 16)(tokens, (4, 4))
    assert (~kept.own_tokens.flatten()).nonzero().flatten().tolist() == same


def test_the_token_of_a_cell_learns_from_the_differences_of_its_patches():
    reduction = build(keep_ratio=0.25)
    tokens, logits = draw((2, 2), batch=1)
    before, _ = reduction(tokens, (2, 2), logits)
    torch.testing.assert_close(before[:, T:], tokens[:, T:].mean(1, keepdim=True))
    before.sum().backward()
    assert reduction.residual.weight.grad.any() and not any(
        p.grad is not None for p in reduction.edge_head.parameters()
    )


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"kind": "cell"}, "kind"),
        ({"kind": "cells", "block_index": 1}, "block_index"),
        ({"kind": "merge", "block_index": 4}, "block_index"),
        ({"kind": "merge", "selection": "top"}, "selection"),
        ({"kind": "cells", "mode": "conv_q"}, "mode"),
    ],
)
def test_wrong_choices_are_refused(change, argument):
    config = ReductionConfig(**{"block_index": 0} | change)
    with pytest.raises(ArgumentError) as error:
        build_reduction(config, [torch.nn.Identity()] * 4, C, T, 0.0)
    assert error.value.argument == argument
