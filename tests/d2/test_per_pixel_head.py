"""Per-pixel classifiers: the linear head, and ATM masks trained as class logits.

Shape shorthand: H x W pixels, K classes.
"""

import pytest
import torch

from helpers.tiny_models import build
from segvit.d2 import PerPixelHead

NUM_CLASSES, IGNORED = 5, 255


@pytest.fixture
def pixel_cfg(tiny_cfg):
    """An ATM decoder trained by pixel cross-entropy."""
    tiny_cfg.MODEL.SEGVIT.LOSS, tiny_cfg.MODEL.SEGVIT.OUTPUT = "pixel", "softmax"
    return tiny_cfg


@pytest.fixture
def linear_cfg(pixel_cfg):
    pixel_cfg.MODEL.SEM_SEG_HEAD.NAME = "PerPixelHead"
    pixel_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES, pixel_cfg.MODEL.VIT.OUT_INDICES = ["block2"], [2]
    return pixel_cfg


@pytest.mark.parametrize(("kind", "names"), [("pixel_cfg", {"loss_ce", "loss_ce_0"}), ("linear_cfg", {"loss_ce"})])
@pytest.mark.parametrize("ids", [(0, 1, 3, IGNORED), (IGNORED,)], ids=["labelled", "ignored"])
def test_every_parameter_gets_a_gradient_for_any_labels(kind, names, ids, make_input, request):
    """As DistributedDataParallel requires."""
    model = build(request.getfixturevalue(kind)).train()
    losses = model([make_input(32, 48, ids=ids), make_input(24, 40, seed=1, ids=ids)])
    assert set(losses) == names and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("kind", ["pixel_cfg", "linear_cfg"])
@torch.no_grad()
def test_scores_are_probabilities(kind, make_input, request):
    """They sum to 1 at every pixel; a batch equals its images one by one."""
    model = build(request.getfixturevalue(kind))
    inputs = [{"image": make_input(*size)["image"]} for size in ((29, 43), (40, 24), (32, 48))]
    for single, result in zip(inputs, model(inputs), strict=True):
        scores = result["sem_seg"]
        assert scores.shape == (NUM_CLASSES, *single["image"].shape[1:]) and scores.std() > 0
        torch.testing.assert_close(scores.sum(dim=0), torch.ones(scores.shape[1:]))
        torch.testing.assert_close(scores, model([single])[0]["sem_seg"], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_linear_head_is_a_1x1_convolution_of_the_last_stage(linear_cfg):
    model = build(linear_cfg)
    head = model.sem_seg_head
    assert isinstance(head, PerPixelHead)
    assert sum(parameter.numel() for parameter in head.parameters()) == NUM_CLASSES * (48 + 1)
    features = {"block2": torch.randn(1, 48, 4, 6, generator=torch.Generator().manual_seed(0))}
    outputs, (weight, bias) = head(features), head.parameters()
    expected = torch.einsum("kc,bchw->bkhw", weight.flatten(1), features["block2"]) + bias[:, None, None]
    torch.testing.assert_close(outputs["pred_masks"], expected)
    assert outputs["aux_outputs"] == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"LOSS": "mask"}, r"OUTPUT 'softmax' .* 'mix' or 'diagonal'|MODEL\.SEGVIT\.LOSS 'pixel'"),
        ({"OUTPUT": "diagonal"}, r"OUTPUT 'diagonal' .*'softmax'"),
        ({"LOSS": "focal"}, r"LOSS 'focal' must be 'mask' or 'pixel'"),
    ],
)
@pytest.mark.parametrize("kind", ["pixel_cfg", "linear_cfg"])
def test_loss_and_output_must_fit(kind, keys, message, request):
    cfg = request.getfixturevalue(kind)
    for key, value in keys.items():
        cfg.MODEL.SEGVIT[key] = value
    with pytest.raises(ValueError, match=message):
        build(cfg)


def test_the_linear_head_refuses_other_stages_and_losses(linear_cfg):
    cfg = linear_cfg.clone()
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES, cfg.MODEL.VIT.OUT_INDICES = ["block2", "block1"], [1, 2]
    with pytest.raises(ValueError, match=r"IN_FEATURES .*block2.*block1.*PerPixelHead"):
        build(cfg)
    cfg = linear_cfg.clone()
    cfg.MODEL.VIT.REDUCTION, cfg.MODEL.VIT.REDUCTION_BLOCK = "shrunk++", 1
    with pytest.raises(ValueError, match=r"IN_FEATURES \['block2'\]"):
        build(cfg)
    cfg = linear_cfg.clone()
    cfg.MODEL.SEGVIT.LOSS, cfg.MODEL.SEGVIT.OUTPUT = "mask", "mix"
    with pytest.raises(ValueError, match=r"set MODEL\.SEGVIT\.LOSS 'pixel'"):
        build(cfg)


def test_sampling_needs_a_reduction(tiny_cfg):
    tiny_cfg.MODEL.VIT.REDUCTION_SAMPLING = "conv_q"
    with pytest.raises(ValueError, match=r"'conv_q' .*MODEL\.VIT\.REDUCTION 'shrunk'"):
        build(tiny_cfg)
