"""`HierarchicalViT`: Swin as a Detectron2 backbone, and the config keys that it refuses."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model

from segvit.d2 import HierarchicalViT
from segvit.errors import UserError


@pytest.fixture
def swin_cfg(tiny_cfg):
    vit = tiny_cfg.MODEL.VIT
    vit.NAME, vit.OUT_INDICES, vit.IMG_SIZE, vit.STEM = "swin_tiny_patch4_window7_224", [0, 1], [32, 64], "linear"
    vit.INIT_STD, vit.FINAL_NORM, vit.REDUCTION = 0.0, False, "none"
    vit.PATCH_SIZE = vit.EMBED_DIM = vit.DEPTH = vit.NUM_HEADS = 0
    tiny_cfg.MODEL.BACKBONE.NAME = "HierarchicalViT"
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["stage1", "stage0"]
    return tiny_cfg


def test_a_model_decodes_stages_of_two_resolutions(swin_cfg):
    model = build_model(swin_cfg).eval()
    assert {name: shape.stride for name, shape in model.backbone.output_shape().items()} == {"stage0": 4, "stage1": 8}
    with torch.no_grad():
        (result,) = model([{"image": torch.zeros(3, 30, 50, dtype=torch.uint8), "height": 15, "width": 25}])
    assert result["sem_seg"].shape == (swin_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, 15, 25)
    assert result["sem_seg"].isfinite().all()


def test_nearest_upsampling_restores_half_a_grid_and_no_quarter(swin_cfg):
    swin_cfg.MODEL.SEGVIT.QUERY_UPSAMPLING = "nearest"
    build_model(swin_cfg)
    swin_cfg.MODEL.VIT.OUT_INDICES, swin_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = [0, 2], ["stage2", "stage0"]
    with pytest.raises(UserError, match=r"QUERY_UPSAMPLING 'nearest' .* are \[16, 4\]"):
        build_model(swin_cfg)


def test_a_frozen_backbone_stays_in_evaluation_mode(swin_cfg):
    swin_cfg.MODEL.VIT.FROZEN = True
    backbone = HierarchicalViT(swin_cfg, ShapeSpec(channels=3)).train()
    assert not backbone.encoder.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize(
    ("key", "value", "default"),
    [("PATCH_SIZE", 8, "0"), ("DEPTH", 2, "0"), ("STEM", "conv", "'linear'"), ("REDUCTION", "shrunk", "'none'")],
)
def test_keys_of_plain_encoders_are_refused(swin_cfg, key, value, default):
    swin_cfg.MODEL.VIT[key] = value
    with pytest.raises(ValueError, match=rf"MODEL\.VIT\.{key} {default}"):
        HierarchicalViT(swin_cfg, ShapeSpec(channels=3))


def test_errors_name_the_config_key(swin_cfg):
    swin_cfg.MODEL.VIT.OUT_INDICES = [4]
    with pytest.raises(UserError, match=r"^MODEL\.VIT\.OUT_INDICES \[4\] must name stages 0 to 3"):
        HierarchicalViT(swin_cfg, ShapeSpec(channels=3))
