"""Tokens of cells in every family of plain ViTs: positions at the centres of cells, batches, and all tokens kept.

Shape shorthand: B images, h x w grid, N = h*w tokens, Q cells, M kept tokens, C width.
"""

import pytest
import timm
import torch
from test_vit_families import EACH_FAMILY, build, draw_images
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.encoder.attention_positions import RelativePositions, RotaryPositions
from segvit.modeling.token_reduction.cell_reduction import CellReduction, cell_similarities
from segvit.modeling.token_reduction.cell_tokens import corner_indices, corners
from segvit.modeling.token_reduction.edge_head import edge_scores
from segvit.modeling.token_reduction.global_merging import most_similar
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig
from segvit.modeling.token_reduction.token_set import as_map

KINDS = pytest.mark.parametrize("kind", ["cells", "merge", "merge twice"])


def build_reducing(family, grid, kind, selection="topk", keep_ratio=0.5, **options):
    choices = {"block_index": 1, "weighs_sizes": True} if kind != "cells" else {"block_index": 0}
    if kind == "merge twice":
        choices |= {"global_block_indices": (2,), "global_keep_ratio": 0.7 * keep_ratio if keep_ratio < 1 else 1.0}
    config = ReductionConfig(kind=kind.split()[0], selection=selection, keep_ratio=keep_ratio, **choices)
    return build(family, grid, reduction=config, **options)


@EACH_FAMILY
@KINDS
@torch.no_grad()
def test_with_all_tokens_it_is_the_plain_encoder(family, kind):
    grid = (5, 4)
    plain, reducing = build(family, grid), build_reducing(family, grid, kind, keep_ratio=1.0)
    reducing.load_state_dict(plain.state_dict(), strict=False)
    images = draw_images(family, grid)
    stages, expected = reducing(images), plain(images)
    for name in expected:
        torch.testing.assert_close(as_map(stages[name]), expected[name], rtol=1e-9, atol=1e-9)


def threshold_for(encoder, images, kind):
    """A threshold that keeps different numbers of fine cells in the images."""
    tokens, grid, _ = encoder.embedding(images)
    if kind != "cells":
        tokens = encoder.blocks[0](tokens, **encoder.positions(grid)(0))
    patches = tokens[:, encoder.embedding.num_prefix_tokens :]
    places = corner_indices(grid, patches.device)
    if kind != "cells":
        values = cell_similarities(patches, places)
    else:
        values = corners(edge_scores(encoder.reduction.edge_head(patches, grid)).flatten(1), places).amax(1)
    middles = values.flatten().sort().values.unfold(0, 2, 1).mean(1)
    return next(float(middle) for middle in middles if len((values > middle).sum(1).unique()) > 1)


def threshold_of_pairs(encoder, images):
    """A threshold for the second merging that keeps different numbers of tokens in the images."""
    entering = []
    hook = encoder.global_merging.register_forward_pre_hook(lambda _, arguments: entering.extend(arguments))
    encoder(images)
    hook.remove()
    tokens, kept = entering
    is_valid = kept.sizes[:, kept.num_prefix_tokens :] > 0
    values, _ = most_similar(tokens[:, kept.num_prefix_tokens :], is_valid)
    middles = values[values.isfinite()].sort().values.unfold(0, 2, 1).mean(1)
    merged = ((values > middle).sum(1) for middle in middles)
    return next(float(m) for m, n in zip(middles, merged, strict=True) if len((is_valid.sum(1) - n).unique()) > 1)


@EACH_FAMILY
@KINDS
@torch.no_grad()
def test_batched_equals_one_by_one(family, kind):
    grid = (5, 6)
    encoder, images = build_reducing(family, grid, kind, "threshold"), draw_images(family, grid, batch=3)
    encoder.reduction.threshold = threshold_for(encoder, images, kind)
    if kind == "merge twice":
        encoder.global_merging.threshold = threshold_of_pairs(encoder, images)
    batched = encoder(images)
    if kind == "merge twice":
        counts = (batched["block3"].cells.sizes > 0).sum(1)
        assert (counts < (batched["block1"].cells.sizes > 0).sum(1)).any() and len(counts.unique()) > 1
    for image in range(len(images)):
        alone = encoder(images[image : image + 1])
        torch.testing.assert_close(batched["block3"].to_map()[image], alone["block3"].to_map()[0], rtol=1e-9, atol=1e-9)


def half_of_the_cells(grid, prefix):
    """Every second cell is fine: tokens of both kinds, and the centre of each patch or cell in patches."""
    num_cells = (grid[0] // 2) * (grid[1] // 2)
    reduction = CellReduction(
        num_prefix_tokens=prefix,
        embed_dim=1,
        edge_head=None,
        selection="threshold",
        threshold=0.0,
        keep_ratio=1.0,
        weighs_sizes=False,
    )
    places = corner_indices(grid, torch.device("cpu"))
    kept = reduction._choose(torch.arange(num_cells)[None] % 2 - 0.5, 0.0, places, grid, None)
    centres = torch.stack(torch.meshgrid(*(torch.arange(float(length)) for length in grid), indexing="ij"), dim=2)
    patches = centres.flatten(0, 1)
    with_cells = torch.cat([patches, corners(patches[None], kept.corners).mean(1)[0]])
    return kept, with_cells[kept.keep_indices[0, prefix:] - prefix]


@pytest.mark.parametrize("grid", [(4, 6), (5, 7)])
def test_relative_positions_are_the_true_distances(grid):
    """A table whose bias is linear in the distance gives every pair of centres exactly its own distance."""
    height, width = grid
    vertical, horizontal = torch.meshgrid(
        torch.arange(1.0 - height, height), torch.arange(1.0 - width, width), indexing="ij"
    )
    table = torch.cat([(10 * vertical + horizontal).flatten(), torch.tensor([100.0, 200.0, 300.0])])
    positions = RelativePositions(tables=[nn.Parameter(table[:, None])], grid_size=grid)
    kept, centres = half_of_the_cells(grid, prefix=1)
    bias = positions(grid, kept)(0)["shared_rel_pos_bias"][0, 0]
    distances = centres[:, None] - centres
    torch.testing.assert_close(bias[1:, 1:], 10 * distances[..., 0] + distances[..., 1])
    assert (bias[0, 1:] == 100).all() and (bias[1:, 0] == 200).all() and bias[0, 0] == 300


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "eva02_tiny_patch14_224"])
@pytest.mark.parametrize("usual", [(8, 10), (9, 9)])
def test_rotary_positions_of_cells_are_halfway_between_those_of_their_patches(name, usual):
    grid = (8, 10)
    rope = timm.create_model(name, depth=1, dynamic_img_size=True).rope
    positions = RotaryPositions(rope=rope, num_prefix_tokens=1, grid_size=usual)
    kept, _ = half_of_the_cells(grid, prefix=1)
    of_tokens = turns(positions(grid, kept)(0)["rope"][0, 0])
    of_patches = turns(rope.get_embed(shape=list(grid)))
    first, last = corners(of_patches[None], kept.corners)[0, [0, 3]]
    of_cells = of_tokens[kept.keep_indices[0, 1:] - 1 >= len(of_patches)]
    is_coarse = ~kept.is_fine[0]
    torch.testing.assert_close(of_cells**2, first[is_coarse] * last[is_coarse], rtol=0, atol=1e-5)
    assert ((of_cells / first[is_coarse]).real > 0).all()  # halfway, not opposite
    fine = kept.keep_indices[0, 1:] - 1
    torch.testing.assert_close(of_tokens[fine < len(of_patches)], of_patches[fine[fine < len(of_patches)]])


def turns(embedding):
    """Sines and cosines (..., 2 d) -> complex numbers (..., d)."""
    sines, cosines = embedding.chunk(2, dim=-1)
    return torch.complex(cosines, sines)


@pytest.mark.parametrize("kind", ["merge", "merge twice"])
@torch.no_grad()
def test_merged_tokens_that_are_equal_weigh_as_many(kind):
    """Without positions, equal tokens stay equal: nothing is lost by merging them, if attention weighs their sizes."""
    encoder = build_reducing("ViT", (4, 4), kind, keep_ratio=0.4)
    encoder.embedding.pos_embed.zero_()
    images = draw_images("ViT", (1, 1)).repeat(1, 1, 4, 4)
    merged = encoder(images)["block3"].to_map()
    plain_encoder = build("ViT", (4, 4))
    plain_encoder.load_state_dict(encoder.state_dict())
    plain = plain_encoder(images)["block3"]
    torch.testing.assert_close(merged, plain, rtol=0, atol=1e-5)
    encoder.reduction.weighs_sizes = False
    assert (encoder(images)["block3"].to_map() - plain).abs().max() > 1e-3


def test_the_edge_loss_trains_the_edge_head_only_and_the_stages_train_the_rest():
    encoder, images = build_reducing("ViT", (4, 4), "cells").train(), draw_images("ViT", (4, 4))
    stages = encoder(images)
    stages["edge_logits"].square().sum().backward()
    with_gradient = {name for name, weight in encoder.named_parameters() if weight.grad is not None}
    assert with_gradient and all(name.startswith("reduction.edge_head.") for name in with_gradient)
    encoder.zero_grad()
    stages["block3"].tokens.square().sum().backward()
    idle = {name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert idle and all(name.startswith("reduction.edge_head.") for name in idle)


def test_gradient_checkpointing_gives_the_same_gradients():
    images, gradients = draw_images("ViT", (4, 4)), []
    for gradient_checkpointing in (False, True):
        encoder = build_reducing("ViT", (4, 4), "cells", gradient_checkpointing=gradient_checkpointing).train()
        encoder(images)["block3"].tokens.square().sum().backward()
        gradients.append(encoder.blocks[0].mlp.fc1.weight.grad)
    torch.testing.assert_close(*gradients)


def test_rotary_positions_without_an_offset_are_refused():
    with pytest.raises(ArgumentError) as error:
        build_reducing("EVA-02", (4, 4), "cells", rope_type="mrope")
    assert error.value.argument == "kind"
