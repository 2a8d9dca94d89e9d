"""Whole models with the part of coarse patches: batches of odd grids in every family, windows, continual steps.

Labels, gradients and the start without detail are tested in test_detail.py.
"""

import pytest
import torch

from helpers.repository import PROJECT
from helpers.tiny_models import build, segment, use_windows, without_labels
from segvit.modeling.decoder.detail import DetailBranch

# Keys of MODEL.VIT for each family.
FAMILIES = {
    "ViT": {},
    "ViT, conv stem": {"STEM": "conv"},
    "BEiT": {"NAME": "beitv2_base_patch16_224", "KEEP_PREFIX_TOKENS": True},
    "EVA-02": {"NAME": "eva02_tiny_patch14_224", "KEEP_PREFIX_TOKENS": True},
    "DINOv2": {"NAME": "vit_small_patch14_reg4_dinov2", "KEEP_PREFIX_TOKENS": True},
    "DINOv3": {"NAME": "vit_small_patch16_dinov3", "KEEP_PREFIX_TOKENS": True},
}
# Grids of 2 x 3, 1 x 3 and 3 x 1 patches, two of them padded.
SIZES = [(64, 96), (31, 70), (93, 32)]


def use(cfg, family="ViT"):
    cfg.merge_from_file(str(PROJECT / "configs" / "parts" / "Base-Coarse.yaml"))
    cfg.MODEL.VIT.IMG_SIZE, cfg.MODEL.SEGVIT.OUTPUT = [64, 96], "diagonal"
    for key, value in FAMILIES[family].items():
        cfg.MODEL.VIT[key] = value
    return cfg


def learnt(model):
    """As if its masks had detail."""
    for module in model.modules():
        if isinstance(module, DetailBranch):
            torch.nn.init.normal_(module.query_proj.weight, std=0.3)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_odd_grids_equals_one_by_one(tiny_cfg, make_input, family):
    model = learnt(build(use(tiny_cfg, family)))
    assert model.backbone.size_divisibility == 32
    inputs = [without_labels(make_input(*size, seed=seed)) for seed, size in enumerate(SIZES)]
    for batched, image, size in zip(segment(model, *inputs), inputs, SIZES, strict=True):
        assert batched.shape == (5, *size)
        torch.testing.assert_close(batched, *segment(model, image), rtol=1e-5, atol=1e-5)


def test_one_window_equals_the_whole_image(tiny_cfg, make_input):
    inputs = without_labels(make_input(61, 90), height=130, width=100)
    (whole,) = segment(learnt(build(use(tiny_cfg))), inputs)
    use_windows(tiny_cfg, SIZE=[64, 96], STRIDE=[43, 64])
    torch.testing.assert_close(segment(learnt(build(tiny_cfg)), inputs)[0], whole)


def test_older_groups_of_a_continual_model_stay_as_they_are(tiny_cfg, make_input):
    use(tiny_cfg, "ViT, conv stem")
    tiny_cfg.MODEL.SEM_SEG_HEAD.NAME = "ContinualHead"
    tiny_cfg.MODEL.SEGVIT.CONTINUAL.PROTOCOL, tiny_cfg.MODEL.SEGVIT.CONTINUAL.STEP = "3-2", 0
    first, inputs = learnt(build(tiny_cfg)), without_labels(make_input(93, 32))
    tiny_cfg.MODEL.SEGVIT.CONTINUAL.STEP = 1
    second = learnt(build(tiny_cfg)).train()
    assert not second.load_state_dict(first.state_dict(), strict=False).unexpected_keys
    optimizer = torch.optim.AdamW([p for p in second.parameters() if p.requires_grad], lr=0.05)
    sum(second([make_input(64, 96, ids=(3, 4, 5, 255))]).values()).backward()
    optimizer.step()
    torch.testing.assert_close(segment(second.eval(), inputs)[0][:3], segment(first, inputs)[0][:3], rtol=0, atol=0)
