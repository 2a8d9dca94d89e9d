"""Shrunk++ in every family of plain ViTs: kept tokens have the positions of the full grid, and padding is ignored.

Shape shorthand: B images, h x w grid, N = h*w tokens, T prefix tokens, M kept tokens, C width.
"""

import pytest
import torch
from test_vit_families import EACH_FAMILY, FAMILIES, C, block_inputs, build, draw_images, timm_twin
from timm.models import Beit

from segvit.modeling.encoder.stage_shape import StageShape
from segvit.modeling.token_reduction.edge_head import edge_scores
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig

SELECTIONS = pytest.mark.parametrize("selection", ["threshold", "topk"])


def build_reducing(family, grid, selection, **options):
    """With random weights scores are arbitrary; the threshold is their median, so that images keep different counts."""
    reduction = ReductionConfig(kind="shrunk++", block_index=2, edge_block_index=1, selection=selection, keep_ratio=0.6)
    encoder = build(family, grid, out_indices=(1, 2, 3), reduction=reduction, **options)
    with torch.no_grad():
        scores = edge_scores(encoder(draw_images(family, grid, batch=4))["edge_logits"])
    encoder.reduction.threshold = scores.median().item()
    return encoder


def kept_cells(edge_logits, reduction):
    """The kept cells of one image (2, h, w), by sorting all cells."""
    scores = edge_scores(edge_logits[None])[0]
    scores[::2, ::2] = 2
    if reduction.selection == "threshold":
        return (scores.flatten() > reduction.threshold).nonzero().flatten()
    return scores.flatten().argsort(descending=True)[: round(reduction.keep_ratio * scores.numel())].sort().values


@EACH_FAMILY
@SELECTIONS
@torch.no_grad()
def test_equals_running_all_tokens_and_masking_the_dropped_ones(family, selection):
    """Block 2 runs on all tokens; block 3 attends only to the kept ones, at their positions in the full grid."""
    grid = (5, 3)
    encoder = build_reducing(family, grid, selection)
    twin, images, prefix = timm_twin(encoder, family, grid), draw_images(family, grid), FAMILIES[family][3]
    inputs, stages = block_inputs(twin, images), encoder(images)
    for image in range(len(images)):
        cells = kept_cells(stages["edge_logits"][image], encoder.reduction)
        mask = torch.full([inputs[0][0].shape[1]] * 2, float("-inf"), dtype=torch.float64)
        mask[:, :prefix] = 0
        mask[:, prefix + cells] = 0
        tokens, arguments = inputs[3]
        if isinstance(twin, Beit):
            shared = arguments["shared_rel_pos_bias"]
            arguments = {"shared_rel_pos_bias": mask[None, None] if shared is None else shared + mask}
        else:
            arguments = arguments | {"attn_mask": mask}
        last = twin.blocks[3](tokens, **arguments)
        for name, expected in {"block2": tokens, "block3": last}.items():
            stage = stages[name]
            valid = slice(None) if stage.valid is None else stage.valid[image]
            assert stage.grid == grid
            assert torch.equal(stage.indices[image][valid], cells)
            torch.testing.assert_close(
                stage.tokens[image][valid], expected[image, prefix + cells], rtol=1e-6, atol=1e-6
            )


@EACH_FAMILY
@SELECTIONS
@torch.no_grad()
def test_batched_equals_one_by_one(family, selection):
    grid = (5, 6)
    encoder, images = build_reducing(family, grid, selection), draw_images(family, grid, batch=4)
    batched = encoder(images)["block3"]
    assert (batched.valid is None) == (selection == "topk")
    for image in range(len(images)):
        alone = encoder(images[image : image + 1])["block3"]
        valid = slice(None) if batched.valid is None else batched.valid[image]
        assert alone.valid is None
        assert torch.equal(alone.indices[0], batched.indices[image][valid])
        torch.testing.assert_close(alone.tokens[0], batched.tokens[image][valid], rtol=1e-9, atol=1e-9)


@SELECTIONS
def test_the_edge_loss_trains_the_edge_head_only_and_the_stages_train_the_rest(selection):
    encoder, images = build_reducing("ViT", (4, 4), selection).train(), draw_images("ViT", (4, 4))
    encoder(images)["edge_logits"].square().sum().backward()
    with_gradient = {name for name, weight in encoder.named_parameters() if weight.grad is not None}
    assert with_gradient and all(name.startswith("reduction.edge_head.") for name in with_gradient)
    stages = encoder(images)
    encoder.zero_grad()
    stages["block3"].tokens.square().sum().backward()
    idle = {name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert idle and all(name.startswith("reduction.edge_head.") for name in idle)


@torch.no_grad()
def test_attention_kernels_agree_on_padding():
    images = draw_images("ViT", (5, 6), batch=3)
    fused, plain = (
        build_reducing("ViT", (5, 6), "threshold", fused_attention=fused)(images)["block3"] for fused in (True, False)
    )
    torch.testing.assert_close(plain.tokens[fused.valid], fused.tokens[fused.valid], rtol=1e-9, atol=1e-9)


def test_stages_after_the_reduction_have_no_stride():
    assert build_reducing("ViT", (4, 4), "topk").stage_shapes() == {
        "block1": StageShape(channels=C, height=4, width=4, stride=16),
        "block2": StageShape(channels=C),
        "block3": StageShape(channels=C),
    }
