"""Edge-aware downsampling (Shrunk++): which tokens are kept, in which order, and how they are padded.

Shape shorthand: B images, h x w grid, N = h*w tokens, T prefix tokens, M kept tokens.
"""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.token_reduction.downsampling import (
    EdgeAwareQueryDownsampling,
    kept_indices,
    padded_length,
)
from segvit.modeling.token_reduction.edge_head import EdgeHead
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig, build_reduction

T = 2


def keep(scores, selection, *, threshold=0.7, keep_ratio=0.5):
    """The tokens kept for edge probabilities (B, h, w)."""
    downsampling = EdgeAwareQueryDownsampling(
        num_prefix_tokens=T,
        edge_head=EdgeHead(embed_dim=8),
        selection=selection,
        threshold=threshold,
        keep_ratio=keep_ratio,
    )
    return downsampling(tuple(scores.shape[1:]), logits_of(scores), device=scores.device)


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
def test_threshold_keeps_the_coarse_grid_and_higher_scores(grid, seed, threshold):
    scores = draw_scores(grid, seed)
    kept = keep(scores, "threshold", threshold=threshold)
    for image in range(len(scores)):
        above = (scores[image].flatten() > threshold).nonzero().flatten().tolist()
        expected = sorted(coarse_cells(grid) | set(above))
        valid = slice(None) if kept.valid is None else kept.valid[image]
        keep_indices = kept.keep_indices[image][valid].tolist()
        assert keep_indices == [*range(T), *(T + cell for cell in expected)]
    if kept.valid is not None:
        assert not kept.valid.all(), "unnecessary padding"


@settings(deadline=None, max_examples=40)
@given(grid=GRIDS, seed=st.integers(0, 1000), keep_ratio=st.sampled_from([0.01, 0.36, 0.5, 1.0]))
def test_topk_keeps_the_coarse_grid_and_the_highest_scores(grid, seed, keep_ratio):
    scores, coarse = draw_scores(grid, seed), coarse_cells(grid)
    kept = keep(scores, "topk", keep_ratio=keep_ratio)
    count = max(int(keep_ratio * grid[0] * grid[1] + 0.5), len(coarse))
    assert kept.valid is None and kept.grid is None
    assert kept.keep_indices.shape == (len(scores), T + count)
    for image in range(len(scores)):
        others = sorted(set(range(grid[0] * grid[1])) - coarse, key=lambda cell: -scores[image].flatten()[cell])
        expected = sorted(coarse | set(others[: count - len(coarse)]))
        assert kept.keep_indices[image].tolist() == [*range(T), *(T + cell for cell in expected)]


def test_without_boundaries_only_the_coarse_grid_is_kept():
    kept = keep(torch.full((2, 5, 3), 0.1), "threshold")
    assert kept.valid is None
    assert kept.keep_indices.shape == (2, T + 6)


def test_tokens_are_padded_to_the_largest_image():
    scores = torch.full((2, 4, 4), 0.1)
    scores[1, 1, 1:] = 0.9
    kept = keep(scores, "threshold")
    assert kept.keep_indices.shape == (2, T + 7)
    assert kept.valid.sum(dim=1).tolist() == [T + 4, T + 7]
    assert torch.equal(kept.key_mask, kept.valid[:, None, None])


def test_the_compiler_does_not_warn_of_the_number_of_kept_tokens(caplog):
    def shares(scores):
        indices, valid = kept_indices(scores * 1 > 0.4)
        return indices.float().mean(), valid

    scores = torch.tensor([[0.1, 0.5, 0.9], [0.1, 0.2, 0.9]])
    mean, valid = torch.compile(shares, backend="eager")(scores)
    assert mean == shares(scores)[0] and valid.tolist() == [[True, True], [True, False]]
    assert not [record for record in caplog.records if record.name.startswith("torch._dynamo")]


@pytest.mark.parametrize(("longest", "length"), [(1, 64), (64, 64), (65, 128), (190, 192), (193, 200)])
def test_a_batch_on_a_gpu_is_padded_to_multiples(longest, length):
    assert padded_length(longest, 200) == length


class OnGPU(torch.Tensor):
    """A CPU tensor that says that it is on a GPU."""

    @property
    def device(self):
        return torch.device("cuda")


def test_padding_for_a_gpu_keeps_the_same_tokens(monkeypatch):
    """The indices before the padding are those of a CPU; a single image has neither mask nor padding."""
    monkeypatch.setattr(torch, "arange", lambda *args, arange=torch.arange, device=None: arange(*args))
    scores, coarse = draw_scores((12, 11)).flatten(1), torch.zeros(132, dtype=torch.bool)
    indices, valid = kept_indices((scores > 0.4) | coarse)
    padded, mask = kept_indices((scores > 0.4).as_subclass(OnGPU) | coarse)
    assert padded.shape == (3, 128) and indices.shape[1] < 128
    for image in range(3):
        assert torch.equal(torch.Tensor(padded[image][mask[image]]), torch.Tensor(indices[image][valid[image]]))
        assert len(set(padded[image].tolist())) == 128  # padding repeats no token
    single, none = kept_indices((scores[:1] > 0.4).as_subclass(OnGPU) | coarse)
    assert none is None and single.shape[1] == int((scores[0] > 0.4).sum())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"kind": "shrink"}, "kind 'shrink' must be 'none', 'shrunk', 'shrunk"),
        ({"block_index": 0}, "block_index 0 must lie in 1 to 3"),
        ({"block_index": 4}, "block_index 4 must lie in 1 to 3"),
        ({"edge_block_index": 3}, "edge_block_index 3 must lie in 0 to `block_index` 2"),
        ({"selection": "best"}, "selection 'best' must be 'threshold' or 'topk'"),
        ({"threshold": 1.5}, "threshold 1.5 must lie in 0 to 1"),
        ({"keep_ratio": 0.0}, "keep_ratio 0.0 must be above 0"),
    ],
)
def test_choices_out_of_range_name_their_argument(choice, message):
    config = ReductionConfig(**{"kind": "shrunk++", "block_index": 2} | choice)
    with pytest.raises(ArgumentError, match=re.escape(message)):
        build_reduction(config, [nn.Identity()] * 4, embed_dim=8, num_prefix_tokens=T, init_std=0.0)
