"""MODEL.VIT.NAME with a weight tag, such as "vit_tiny_patch16_224.augreg_in21k": its weights must be loaded."""

import pytest
from detectron2.modeling import build_model

from helpers.repository import CONFIGS
from segvit.assembly.encoder_weights import without_pretrained
from segvit.d2 import load_config
from segvit.errors import ArgumentError, UserError
from segvit.modeling.encoder.hierarchical_encoder import HierarchicalEncoder
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.weights.pretrained import hub_weights

BASE = CONFIGS / "Base-SegViT.yaml"
TAGGED = "vit_tiny_patch16_224.augreg_in21k"


def test_a_tag_without_its_weights_is_refused_with_the_remedy():
    with pytest.raises(UserError) as error:
        load_config(BASE, ["MODEL.VIT.NAME", TAGGED])
    assert "MODEL.VIT.PRETRAINED 'augreg_in21k'" in str(error.value) and "'vit_tiny_patch16_224'" in str(error.value)


@pytest.mark.parametrize(
    "opts", [["MODEL.VIT.PRETRAINED", "augreg_in21k"], ["MODEL.VIT.PRETRAINED", "/a.pth"], ["MODEL.WEIGHTS", "/a.pth"]]
)
def test_a_tag_with_weights_is_accepted(opts):
    assert load_config(BASE, ["MODEL.VIT.NAME", TAGGED, *opts]).MODEL.VIT.NAME == TAGGED


def test_a_tag_is_accepted_if_a_checkpoint_has_all_weights(tiny_cfg):
    tiny_cfg.MODEL.VIT.NAME = TAGGED
    with pytest.raises(UserError, match=r"MODEL\.VIT\.NAME"):
        build_model(tiny_cfg)
    build_model(without_pretrained(tiny_cfg))
    tiny_cfg.MODEL.WEIGHTS = "/model.pth"
    build_model(tiny_cfg)


def test_the_encoders_refuse_a_tag_without_its_weights():
    with pytest.raises(ArgumentError, match="`pretrained` 'augreg_in21k'"):
        build_vit_encoder(name=TAGGED, img_size=(32, 32), out_indices=[0])
    with pytest.raises(ArgumentError, match="`pretrained` 'ms_in1k'"):
        HierarchicalEncoder(name="swin_tiny_patch4_window7_224.ms_in1k", img_size=(64, 64), out_indices=[0])


def test_two_tags_are_refused():
    with pytest.raises(ArgumentError, match="different weights"):
        hub_weights(TAGGED, "augreg_in21k_ft_in1k")
