"""Whole models with Shrunk++: losses, gradients and batches, and the stages that a decoder can read.

Shape shorthand: H x W pixels.
"""

import pytest
import torch

from helpers.tiny_models import build, segment, use_shrunk_pp, without_labels

IGNORED = 255
LOSSES = {f"{name}{suffix}" for name in ("loss_ce", "loss_mask", "loss_dice") for suffix in ("", "_0")}
EACH_SELECTION = pytest.mark.parametrize("selection", ["threshold", "topk"])


@EACH_SELECTION
def test_every_parameter_gets_a_gradient(tiny_cfg, make_input, selection):
    use_shrunk_pp(tiny_cfg, SELECTION=selection)
    tiny_cfg.MODEL.SEGVIT.NUM_LAYERS = 2
    model = build(tiny_cfg).train()
    losses = model([make_input(32, 48), make_input(29, 48, seed=1)])
    assert set(losses) == LOSSES | {"loss_edge"}
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_losses_of_images_without_labels_are_finite(tiny_cfg, make_input):
    use_shrunk_pp(tiny_cfg)
    losses = build(tiny_cfg).train()([make_input(32, 48, ids=(IGNORED,)), make_input(32, 48, seed=1, ids=(IGNORED,))])
    assert losses["loss_edge"] == 0 and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()


@EACH_SELECTION
def test_a_batch_equals_one_by_one_with_shrunk_pp(tiny_cfg, make_input, selection):
    use_shrunk_pp(tiny_cfg, SELECTION=selection)
    model = build(tiny_cfg)
    inputs = [without_labels(make_input(*size, seed=seed)) for seed, size in enumerate([(32, 48), (32, 48), (41, 23)])]
    for batched, image in zip(segment(model, *inputs), inputs, strict=True):
        torch.testing.assert_close(batched, *segment(model, image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("upsampling", "in_features"), [("none", ["block2", "block0"]), ("nearest", ["block2"])])
def test_a_decoder_that_needs_maps_refuses_stages_after_the_reduction(tiny_cfg, upsampling, in_features):
    use_shrunk_pp(tiny_cfg)
    tiny_cfg.MODEL.SEGVIT.QUERY_UPSAMPLING, tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = upsampling, in_features
    with pytest.raises(ValueError, match=r"IN_FEATURES \['block2'\] .*MODEL\.SEGVIT"):
        build(tiny_cfg)


def test_upsampling_without_layers_is_refused_where_nothing_else_reads_the_last_stage(tiny_cfg):
    use_shrunk_pp(tiny_cfg)
    tiny_cfg.MODEL.SEGVIT.QUERY_UPSAMPLING, tiny_cfg.MODEL.SEGVIT.UPSAMPLING_LAYERS = "inherited", 0
    with pytest.raises(ValueError, match=r"MODEL\.SEGVIT\.UPSAMPLING_LAYERS 0: 'inherited' queries need a layer"):
        build(tiny_cfg)


@pytest.mark.parametrize("reduction", ["none", "shrunk", "shrunk++", "merge"])
def test_nearest_upsampling_needs_a_stage_after_a_reduction(tiny_cfg, reduction):
    vit = tiny_cfg.MODEL.VIT
    vit.REDUCTION, vit.OUT_INDICES, vit.REDUCTION_BLOCK, vit.MERGE.BLOCK = reduction, [0, 1, 2], 2, 2
    tiny_cfg.MODEL.SEGVIT.QUERY_UPSAMPLING, tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = "nearest", ["block1", "block0"]
    with pytest.raises(ValueError, match=r"QUERY_UPSAMPLING 'nearest' .*\['block1', 'block0'\] are \[8, 8\]"):
        build(tiny_cfg)
