"""Which tokens Shrunk++ keeps: the coarse grid, the edges, in order, with padding that nobody sees.

Shape shorthand: B images, h x w grid, N = h*w tokens, T prefix tokens, M kept tokens.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segvit.modeling.token_reduction.edge_aware_downsampling import EdgeAwareQueryDownsampling
from segvit.modeling.token_reduction.edge_head import EdgeHead
from segvit.modeling.token_reduction.reduction_builder import TokenReduction, build_reduction

T = 2


def make(selection, *, threshold=0.7, share=0.5):
    return EdgeAwareQueryDownsampling(
        block_index=1,
        num_prefix_tokens=T,
        edge_head=EdgeHead(block_index=0, embed_dim=8),
        selection=selection,
        threshold=threshold,
        share=share,
    )


def logits_of(scores):
    """(B, h, w) probabilities -> (B, 2, h, w) logits that give them."""
    return torch.stack([(1 - scores).log(), scores.log()], dim=1)


def draw_scores(grid, seed=0, count=3):
    return torch.rand(count, *grid, generator=torch.Generator().manual_seed(seed)).clamp(0.01, 0.99)


def coarse_cells(grid):
    return set(torch.arange(grid[0] * grid[1]).unflatten(0, grid)[::2, ::2].flatten().tolist())


GRIDS = st.tuples(st.integers(1, 7), st.integers(1, 7))


@settings(deadline=None, max_examples=40)
@given(grid=GRIDS, seed=st.integers(0, 1000), threshold=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_threshold_keeps_the_grid_and_what_scores_above(grid, seed, threshold):
    scores = draw_scores(grid, seed)
    kept = make("threshold", threshold=threshold)(logits_of(scores))
    for image in range(len(scores)):
        above = (scores[image].flatten() > threshold).nonzero().flatten().tolist()
        expected = sorted(coarse_cells(grid) | set(above))
        valid = slice(None) if kept.valid is None else kept.valid[image]
        positions = kept.positions[image][valid].tolist()
        assert positions == [*range(T), *(T + cell for cell in expected)]
    if kept.valid is not None:
        assert not kept.valid.all(), "padding without need"


@settings(deadline=None, max_examples=40)
@given(grid=GRIDS, seed=st.integers(0, 1000), share=st.sampled_from([0.01, 0.36, 0.5, 1.0]))
def test_topk_keeps_the_grid_and_the_best_others(grid, seed, share):
    scores, coarse = draw_scores(grid, seed), coarse_cells(grid)
    kept = make("topk", share=share)(logits_of(scores))
    count = max(round(share * grid[0] * grid[1]), len(coarse))
    assert kept.valid is None and kept.grid is None
    assert kept.positions.shape == (len(scores), T + count)
    for image in range(len(scores)):
        others = sorted(set(range(grid[0] * grid[1])) - coarse, key=lambda cell: -scores[image].flatten()[cell])
        expected = sorted(coarse | set(others[: count - len(coarse)]))
        assert kept.positions[image].tolist() == [*range(T), *(T + cell for cell in expected)]


def test_without_boundaries_the_grid_alone_remains():
    kept = make("threshold")(logits_of(torch.full((2, 5, 3), 0.1)))
    assert kept.valid is None
    assert kept.positions.shape == (2, T + 6)


def test_padding_is_cut_to_the_largest_image():
    scores = torch.full((2, 4, 4), 0.1)
    scores[1, 1, 1:] = 0.9
    kept = make("threshold")(logits_of(scores))
    assert kept.positions.shape == (2, T + 7)
    assert kept.valid.sum(dim=1).tolist() == [T + 4, T + 7]
    assert torch.equal(kept.key_mask, kept.valid[:, None, None])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"kind": "shrink"}, "MODEL.VIT.REDUCTION 'shrink' must be 'none', 'shrunk' or 'shrunk.*'"),
        ({"block_index": 0}, "REDUCTION_BLOCK 0 must lie in 1 to 3"),
        ({"block_index": 4}, "REDUCTION_BLOCK 4 must lie in 1 to 3"),
        ({"edge_block_index": 3}, r"EDGE\.BLOCK 3 must lie in 0 to MODEL\.VIT\.REDUCTION_BLOCK 2"),
        ({"selection": "best"}, r"EDGE\.SELECTION 'best' must be 'threshold' or 'topk'"),
        ({"threshold": 1.5}, r"EDGE\.THRESHOLD 1\.5 must lie in 0 to 1"),
        ({"share": 0.0}, r"EDGE\.SHARE 0\.0 must lie in 0 to 1"),
    ],
)
def test_choices_out_of_range_name_their_key(choice, message):
    reduction = TokenReduction(**{"kind": "shrunk++", "block_index": 2} | choice)
    with pytest.raises(ValueError, match=message):
        build_reduction(reduction, depth=4, embed_dim=8, num_prefix_tokens=T, init_std=0.0)
