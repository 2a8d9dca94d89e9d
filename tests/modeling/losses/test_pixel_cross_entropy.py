"""`PixelCrossEntropy` against a slow loop in float64, and on ignored pixels.

Shape shorthand: B images, H x W pixels, h x w grid, K classes.
"""

import pytest
import torch
import torch.nn.functional as F

from helpers.targets import mask_targets
from segvit.modeling.losses.pixel_cross_entropy import PixelCrossEntropy

B, K, IGNORED = 2, 4, 255
GRID, SIZE = (2, 3), (8, 12)


def make_labels(ids=(0, 1, 3, IGNORED), size=SIZE):
    return torch.tensor(ids)[torch.randint(len(ids), (B, *size), generator=torch.Generator().manual_seed(0))]


def make_outputs(num_aux=1):
    generator = torch.Generator().manual_seed(1)
    stages = [
        {
            "pred_logits": torch.randn(B, K, K + 1, generator=generator).requires_grad_(),
            "pred_masks": (2 * torch.randn(B, K, *GRID, generator=generator)).requires_grad_(),
        }
        for _ in range(num_aux + 1)
    ]
    return {**stages[-1], "aux_outputs": stages[:-1]}


def reference(stage, labels, stride, weights=(1.0,) * K):
    """The weighted mean over labelled pixels, pixel by pixel in float64."""
    middle = (stride - 1) // 2
    labels = labels[:, middle::stride, middle::stride]
    logits = F.interpolate(stage["pred_masks"].double(), labels.shape[1:], mode="bilinear", align_corners=False)
    losses = [
        (weights[label] * (logits[image, :, row, column].exp().sum().log() - logits[image, label, row, column]), label)
        for image, row, column in torch.cartesian_prod(*map(torch.arange, labels.shape)).tolist()
        if (label := labels[image, row, column].item()) != IGNORED
    ]
    return sum(loss for loss, _ in losses) / sum(weights[label] for _, label in losses)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("num_aux", [0, 2])
def test_equals_a_slow_loop(num_aux, stride):
    outputs, labels = make_outputs(num_aux), make_labels()
    losses = PixelCrossEntropy(weight=3.0, stride=stride)(outputs, mask_targets(labels))
    assert list(losses) == ["loss_ce", *(f"loss_ce_{index}" for index in range(num_aux))]
    for loss, stage in zip(losses.values(), [outputs, *outputs["aux_outputs"]], strict=True):
        torch.testing.assert_close(loss.double(), 3 * reference(stage, labels, stride), rtol=1e-5, atol=1e-6)


def test_weights_of_classes_weight_their_pixels():
    outputs, labels, weights = make_outputs(0), make_labels(), [0.5, 3.0, 1.0, 2.0]
    loss = PixelCrossEntropy(weights_by_class=weights)(outputs, mask_targets(labels))["loss_ce"]
    torch.testing.assert_close(loss.double(), reference(outputs, labels, 1, weights), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ids", [(0, 1, 3, IGNORED), (IGNORED,)], ids=["labelled", "ignored"])
def test_every_output_gets_a_finite_gradient(ids):
    """Without labels the loss is zero; class logits, which are not trained, always get a gradient of zero."""
    outputs = make_outputs()
    losses = PixelCrossEntropy()(outputs, mask_targets(make_labels(ids)))
    sum(losses.values()).backward()
    has_labels = ids != (IGNORED,)
    assert all(loss.isfinite() and bool(loss > 0) == has_labels for loss in losses.values())
    for stage in [outputs, *outputs["aux_outputs"]]:
        assert stage["pred_masks"].grad.isfinite().all() and bool(stage["pred_masks"].grad.any()) == has_labels
        assert not stage["pred_logits"].grad.any()


def test_ignored_pixels_and_unlabelled_images_change_nothing():
    """The labelled image alone gives the same loss."""
    outputs, labels = make_outputs(0), make_labels()
    labels[1] = IGNORED
    expected = reference({"pred_masks": outputs["pred_masks"][:1]}, labels[:1], 1)
    loss = PixelCrossEntropy()(outputs, mask_targets(labels))["loss_ce"]
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


def test_the_loss_is_float32_under_autocast():
    outputs, targets = make_outputs(), mask_targets(make_labels())
    expected = PixelCrossEntropy()(outputs, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = PixelCrossEntropy()(outputs, targets)
    assert all(torch.equal(losses[name], expected[name]) for name in expected)


def test_class_logits_are_optional():
    outputs = {"pred_masks": make_outputs()["pred_masks"], "aux_outputs": []}
    assert PixelCrossEntropy()(outputs, mask_targets(make_labels()))["loss_ce"] > 0
