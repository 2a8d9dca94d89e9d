"""Whole models whose encoder makes tokens of cells: losses, batches, windows, plain checkpoints, continual steps.

Shape shorthand: H x W pixels.
"""

import pytest
import torch

from helpers.tiny_models import build, segment, use_windows, without_labels
from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.errors import UserError

KINDS = {
    "cells": {"REDUCTION": "cells", "EDGE": {"SELECTION": "topk", "SHARE": 0.6}},
    "cells by threshold": {"REDUCTION": "cells", "EDGE": {"SELECTION": "threshold", "THRESHOLD": 0.5}},
    "merge": {"REDUCTION": "merge", "MERGE": {"SELECTION": "topk", "SHARE": 0.6}},
    "merge by threshold": {"REDUCTION": "merge", "MERGE": {"SELECTION": "threshold", "THRESHOLD": 0.3}},
    "merge twice": {"REDUCTION": "merge", "MERGE": {"SHARE": 0.6, "GLOBAL_BLOCKS": [2], "GLOBAL_SHARE": 0.4}},
    "merge twice by threshold": {
        "REDUCTION": "merge",
        "MERGE": {
            "BLOCK": 0,
            "SELECTION": "threshold",
            "THRESHOLD": 0.3,
            "GLOBAL_BLOCKS": [1, 2],
            "GLOBAL_THRESHOLD": 0.3,
        },
    },
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
SIZES = [(32, 48), (32, 48), (41, 23)]


def use(cfg, kind):
    vit = cfg.MODEL.VIT
    for key, value in KINDS[kind].items():
        if isinstance(value, dict):
            for name, setting in value.items():
                vit[key][name] = setting
        else:
            vit[key] = value
    return cfg


@pytest.mark.parametrize("kind", ["cells", "cells by threshold"])
def test_every_parameter_gets_a_gradient(tiny_cfg, make_input, kind):
    model = build(use(tiny_cfg, kind)).train()
    losses = model([make_input(32, 48), make_input(29, 48, seed=1)])
    assert "loss_edge" in losses and all(loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@EACH_KIND
def test_the_edge_block_of_shrunk_pp_does_not_matter(tiny_cfg, kind):
    """A command turns a recipe of Shrunk++ into one that does not read the key."""
    tiny_cfg.MODEL.VIT.EDGE.BLOCK = 2
    assert build(use(tiny_cfg, kind))


@EACH_KIND
@pytest.mark.parametrize("detail", ["none", "image"])
def test_a_batch_equals_one_by_one(tiny_cfg, make_input, kind, detail):
    tiny_cfg.MODEL.SEGVIT.DETAIL.SOURCE = detail
    model = build(use(tiny_cfg, kind))
    inputs = [without_labels(make_input(*size, seed=seed)) for seed, size in enumerate(SIZES)]
    for batched, image in zip(segment(model, *inputs), inputs, strict=True):
        torch.testing.assert_close(batched, *segment(model, image), rtol=1e-5, atol=1e-6)


@EACH_KIND
def test_one_window_equals_the_whole_image(tiny_cfg, make_input, kind):
    inputs = without_labels(make_input(29, 43), height=60, width=50)
    (whole,) = segment(build(use(tiny_cfg, kind)), inputs)
    use_windows(tiny_cfg)
    torch.testing.assert_close(segment(build(tiny_cfg), inputs)[0], whole)


def test_a_plain_model_merges_as_it_is_and_starts_the_training_of_cells(tiny_cfg, make_input, tmp_path):
    plain, inputs = build(tiny_cfg), without_labels(make_input(32, 48))
    SegViTCheckpointer(plain, str(tmp_path)).save("model")
    path = str(tmp_path / "model.pth")
    for kind, node in (("merge", "MERGE"), ("cells", "EDGE")):
        cfg = use(tiny_cfg.clone(), kind)
        cfg.MODEL.VIT[node].SHARE = 1.0
        model = build(cfg).train(kind == "cells")
        SegViTCheckpointer(model, strict=kind == "merge").load(path)
        torch.testing.assert_close(*segment(model.eval(), inputs), *segment(plain, inputs), rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match=r"reduction\.edge_head"):
        SegViTCheckpointer(model).load(path)


@pytest.mark.parametrize(("kind", "blocks"), [("cells", 0), ("merge", 0), ("merge twice", 0), ("cells", 1)])
def test_older_groups_of_a_continual_model_stay_as_they_are(tiny_cfg, make_input, kind, blocks):
    use(tiny_cfg, kind)
    tiny_cfg.MODEL.SEGVIT.CONTINUAL.ADAPTER_BLOCKS, tiny_cfg.MODEL.SEGVIT.CONTINUAL.ADAPTER_DIM = blocks, 24
    tiny_cfg.MODEL.SEM_SEG_HEAD.NAME, tiny_cfg.MODEL.SEGVIT.OUTPUT = "ContinualHead", "diagonal"
    tiny_cfg.MODEL.SEGVIT.CONTINUAL.PROTOCOL, tiny_cfg.MODEL.SEGVIT.CONTINUAL.STEP = "3-2", 0
    first, inputs = build(tiny_cfg), without_labels(make_input(41, 23))
    tiny_cfg.MODEL.SEGVIT.CONTINUAL.STEP = 1
    second = build(tiny_cfg).train()
    assert not second.load_state_dict(first.state_dict(), strict=False).unexpected_keys
    optimizer = torch.optim.AdamW([p for p in second.parameters() if p.requires_grad], lr=0.05)
    sum(second([make_input(32, 48, ids=(3, 4, 5, 255))]).values()).backward()
    optimizer.step()
    torch.testing.assert_close(segment(second.eval(), inputs)[0][:3], segment(first, inputs)[0][:3], rtol=0, atol=0)


@EACH_KIND
def test_an_adapter_of_a_later_group_reads_kept_tokens_alone(tiny_cfg, make_input, kind):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NAME, tiny_cfg.MODEL.SEGVIT.OUTPUT = "ContinualHead", "diagonal"
    tiny_cfg.MODEL.SEGVIT.CONTINUAL.PROTOCOL, tiny_cfg.MODEL.SEGVIT.CONTINUAL.STEP = "3-2", 1
    tiny_cfg.MODEL.SEGVIT.CONTINUAL.ADAPTER_BLOCKS, tiny_cfg.MODEL.SEGVIT.CONTINUAL.ADAPTER_DIM = 1, 24
    model = build(use(tiny_cfg, kind))
    torch.nn.init.normal_(model.sem_seg_head.added[0].adapter.up.weight)
    inputs = [without_labels(make_input(*size, seed=seed)) for seed, size in enumerate(SIZES)]
    for batched, image in zip(segment(model, *inputs), inputs, strict=True):
        torch.testing.assert_close(batched, *segment(model, image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("upsampling", ["nearest", "inherited"])
def test_query_upsampling_reads_maps_of_cells_too(tiny_cfg, make_input, upsampling):
    tiny_cfg.MODEL.SEGVIT.QUERY_UPSAMPLING = upsampling
    (scores,) = segment(build(use(tiny_cfg, "cells")), without_labels(make_input(29, 43)))
    assert scores.isfinite().all()
