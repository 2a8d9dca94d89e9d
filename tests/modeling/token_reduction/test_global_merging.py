"""Merging of similar tokens anywhere in the image: pairs, means, places and sizes, and what patches read.

Shape shorthand: B images, h x w grid, N = h*w patches, T prefix tokens, M tokens without prefix, C width.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segvit.errors import ArgumentError
from segvit.modeling.token_reduction.cell_reduction import CellReduction
from segvit.modeling.token_reduction.global_merging import GlobalMerging
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig, build_reduction

T, C = 2, 4
GRIDS = st.tuples(st.integers(1, 6), st.integers(1, 6))


def merged_cells(grid, seed, selection):
    """Tokens of three images after the merging of cells, padded with a threshold."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(3, T + grid[0] * grid[1], C, generator=generator, dtype=torch.float64)
    reduction = CellReduction(
        num_prefix_tokens=T,
        embed_dim=C,
        edge_head=None,
        selection=selection,
        threshold=0.0,
        keep_ratio=0.6,
        weighs_sizes=True,
    )
    return reduction(tokens, grid)


def merging(selection, keep_ratio=0.4):
    return GlobalMerging(block_indices=[2], selection=selection, threshold=0.5, keep_ratio=keep_ratio)


def expected_merging(tokens, sizes, selection, num_wanted):
    """For each token the one that it becomes, by loops; `tokens` are those of one image, without padding."""
    target = {index: index for index in range(len(tokens))}
    pairs = []
    for index in range(1, len(tokens), 2):
        cosines = {
            other: torch.cosine_similarity(tokens[index], tokens[other], dim=0) for other in range(0, len(tokens), 2)
        }
        best = max(cosines, key=cosines.get)
        pairs.append((float(cosines[best]), index, best))
    pairs.sort(reverse=True)
    count = sum(cosine > 0.5 for cosine, _, _ in pairs) if selection == "threshold" else len(tokens) - num_wanted
    for _, index, best in pairs[: max(count, 0)]:
        target[index] = best
    groups = {kept: [index for index in target if target[index] == kept] for kept in set(target.values())}
    means = {
        kept: (tokens[members] * sizes[members, None]).sum(0) / sizes[members].sum() for kept, members in groups.items()
    }
    return target, means


@settings(deadline=None, max_examples=30)
@given(grid=GRIDS, seed=st.integers(0, 1000), selection=st.sampled_from(["threshold", "topk"]))
def test_the_most_similar_pairs_become_their_mean_at_the_place_of_the_token_found(grid, seed, selection):
    before, cells = merged_cells(grid, seed, selection)
    after, kept = merging(selection)(before, cells)
    assert torch.equal(after[:, :T], before[:, :T]) and torch.equal(kept.keep_indices[:, :T], cells.keep_indices[:, :T])
    restored = kept.restore(after[:, T:])
    num_wanted = round(0.4 * grid[0] * grid[1] + 1e-9)
    for image in range(len(before)):
        is_valid = cells.sizes[image, T:] > 0
        tokens, sizes = before[image, T:][is_valid], cells.sizes[image, T:][is_valid]
        target, means = expected_merging(tokens, sizes, selection, num_wanted)
        read = [means[target[int(index)]] for index in cells.token_of_patch[image]]
        torch.testing.assert_close(restored[image], torch.stack(read), rtol=1e-5, atol=1e-6)
        count = after.shape[1] if kept.valid is None else int(kept.valid[image].sum())
        assert kept.keep_indices[image, T:count].tolist() == [
            int(cells.keep_indices[image, T + index]) for index in sorted(means)
        ]
        assert kept.sizes[image, T:count].sum() == grid[0] * grid[1] and not kept.sizes[image, count:].any()
        assert kept.size_bias(torch.float64)[image, 0, 0, count:].isneginf().all()


@pytest.mark.parametrize(("keep_ratio", "count"), [(1.0, 21), (0.5, 18), (0.4, 14), (0.01, 11)])
def test_a_share_is_that_of_all_patches_and_at_most_half_of_the_tokens_are_merged(keep_ratio, count):
    before, cells = merged_cells((6, 6), 0, "topk")
    assert before.shape[1] == T + 21
    after, kept = merging("topk", keep_ratio)(before, cells)
    assert after.shape[1] == T + count and kept.valid is None
    if keep_ratio == 1:
        torch.testing.assert_close(after, before)


def test_only_patches_that_share_no_token_have_one_of_their_own():
    _, kept = merging("topk")(*merged_cells((6, 6), 0, "topk"))
    shared = torch.stack([index.bincount()[index] for index in kept.token_of_patch])
    assert torch.equal(kept.own_tokens, (shared == 1).unflatten(1, (6, 6)))


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"kind": "cells", "block_index": 0}, "global_block_indices"),
        ({"global_block_indices": (1, 2)}, "global_block_indices"),
        ({"global_block_indices": (4,)}, "global_block_indices"),
        ({"global_threshold": 1.5}, "global_threshold"),
        ({"global_keep_ratio": 0.0}, "global_keep_ratio"),
        ({"selection": "topk", "keep_ratio": 0.3, "global_keep_ratio": 0.3}, "global_keep_ratio"),  # no token to merge
    ],
)
def test_wrong_choices_are_refused(change, argument):
    config = ReductionConfig(**{"kind": "merge", "block_index": 1, "global_block_indices": (2,)} | change)
    with pytest.raises(ArgumentError) as error:
        build_reduction(config, [torch.nn.Identity()] * 4, C, T, 0.0)
    assert error.value.argument == argument


@pytest.mark.parametrize("selection", ["threshold", "topk"])
def test_under_autocast_the_same_tokens_merge(selection):
    tokens, kept = merged_cells((5, 6), 0, selection)
    tokens = tokens.float()
    expected, expected_kept = merging(selection)(tokens, kept)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        merged, cells = merging(selection)(tokens, kept)
    assert torch.equal(merged, expected) and torch.equal(cells.merged_into, expected_kept.merged_into)
    half, cells = merging(selection)(tokens.bfloat16(), kept)
    assert half.dtype == torch.bfloat16 and half.shape[::2] == expected.shape[::2]
