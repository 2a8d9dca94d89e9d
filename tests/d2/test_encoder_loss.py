"""MODEL.SEGVIT.ENCODER_WEIGHT: a loss of the encoder's tokens, which training alone reads."""

import pytest
import torch

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.d2 import SegViT
from segvit.errors import UserError


def reduced(cfg):
    cfg.MODEL.VIT.REDUCTION, cfg.MODEL.VIT.REDUCTION_BLOCK, cfg.MODEL.VIT.OUT_INDICES = "shrunk++", 1, [0, 2]
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
    cfg.MODEL.SEGVIT.QUERY_UPSAMPLING = "nearest"


def built(cfg, weight, *, seed=0):
    cfg = cfg.clone()
    cfg.MODEL.SEGVIT.ENCODER_WEIGHT = weight
    torch.manual_seed(seed)
    return SegViT(cfg)


@pytest.mark.parametrize("change", [lambda cfg: None, reduced], ids=["plain", "shrunk++"])
def test_the_encoder_learns_from_it_and_scores_stay(tiny_cfg, make_input, change):
    change(tiny_cfg)
    batch = [make_input(32, 48, ids=(0, 1)), make_input(32, 48, ids=(1, 2))]
    plain, model = built(tiny_cfg, 0.0), built(tiny_cfg, 0.5)
    torch.manual_seed(1)
    expected = plain.train()(batch)
    torch.manual_seed(1)
    losses = model.train()(batch)
    assert set(losses) == set(expected) | {"loss_encoder"}
    torch.testing.assert_close({name: losses[name] for name in expected}, expected)
    doubled = built(tiny_cfg, 1.0).train()
    torch.manual_seed(1)
    assert doubled(batch)["loss_encoder"].item() == pytest.approx(2 * losses["loss_encoder"].item(), rel=1e-5)
    losses["loss_encoder"].backward()
    assert all(parameter.grad is None for parameter in model.sem_seg_head.parameters())
    assert next(model.backbone.parameters()).grad.abs().sum() > 0
    scores = [one.eval()(batch)[0]["sem_seg"] for one in (plain, model)]
    assert torch.equal(*scores)


def test_pixels_without_a_class_have_no_part(tiny_cfg, make_input):
    inputs = make_input(32, 48, ids=(0, 1))
    inputs["sem_seg"].fill_(tiny_cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE)
    inputs.pop("sem_seg_ids", None)
    loss = built(tiny_cfg, 1.0).train()([inputs])["loss_encoder"]
    assert loss.item() == 0 and loss.requires_grad


def test_checkpoints_with_and_without_it_serve_models_without_and_with_it(tiny_cfg, tmp_path, make_input):
    image = [make_input(32, 48, ids=(0, 1))]
    without, with_ = built(tiny_cfg, 0.0), built(tiny_cfg, 1.0, seed=1)
    expected = {}
    for name, model in (("without", without), ("with", with_)):
        SegViTCheckpointer(model, str(tmp_path)).save(name)
        expected[name] = model.eval()(image)[0]["sem_seg"]
    for name, weight in (("without", 1.0), ("with", 0.0)):
        for strict in (True, False):
            model = built(tiny_cfg, weight, seed=2).train(not strict)
            SegViTCheckpointer(model, strict=strict).load(str(tmp_path / f"{name}.pth"))
            assert torch.equal(model.eval()(image)[0]["sem_seg"], expected[name])


def test_other_classes_renew_it(tiny_cfg, tmp_path):
    SegViTCheckpointer(built(tiny_cfg, 1.0), str(tmp_path)).save("model")
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES += 1
    model = built(tiny_cfg, 1.0, seed=1)
    fresh = model.encoder_loss.classifier.weight.detach().clone()
    with pytest.raises(UserError, match="NUM_CLASSES"):
        SegViTCheckpointer(model, strict=True).load(str(tmp_path / "model.pth"))
    SegViTCheckpointer(model, strict=False).load(str(tmp_path / "model.pth"))
    assert torch.equal(model.encoder_loss.classifier.weight, fresh)


def test_a_frozen_encoder_has_none(tiny_cfg):
    tiny_cfg.MODEL.VIT.FROZEN = True
    assert built(tiny_cfg, 1.0).encoder_loss is None


def test_in_a_continual_step_pixels_of_later_classes_are_a_class_of_their_own(tiny_cfg, make_input):
    """The encoder is frozen after this step, and later groups need it to tell their classes from the first ones."""
    tiny_cfg.MODEL.SEM_SEG_HEAD.NAME, tiny_cfg.MODEL.SEGVIT.OUTPUT = "ContinualHead", "diagonal"
    tiny_cfg.MODEL.SEGVIT.CONTINUAL.PROTOCOL, tiny_cfg.MODEL.SEGVIT.CONTINUAL.STEP = "3-2", 0
    inputs = make_input(32, 48, ids=(5,))  # what the mapper makes of classes 3 and 4
    model = built(tiny_cfg, 1.0).train()
    classifier = model.encoder_loss.classifier
    assert classifier.out_features == tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES + 1
    with torch.no_grad():
        classifier.weight.zero_()
        classifier.bias.zero_()[-1] = 30  # sure of no class
        assert model([inputs])["loss_encoder"].item() == pytest.approx(0, abs=1e-6)
        classifier.bias[-1] = 0
        classes = torch.tensor(float(classifier.out_features))
        assert model([inputs])["loss_encoder"].item() == pytest.approx(classes.log().item(), rel=1e-5)
