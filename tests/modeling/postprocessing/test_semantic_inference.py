"""`SemanticInference` against the formula of each mode, written out.

Shape shorthand: B images, H x W pixels, h x w grid, K classes = queries.
"""

import pytest
import torch
import torch.nn.functional as F

from segvit.errors import ArgumentError
from segvit.modeling.postprocessing.semantic_inference import SemanticInference

B, K, GRID, SIZE = 2, 5, (3, 4), (24, 40)
MODES = ("mix", "diagonal")


def make_outputs(scale=3.0):
    generator = torch.Generator().manual_seed(0)
    return {
        "pred_logits": torch.randn(B, K, K + 1, generator=generator) * scale,
        "pred_masks": torch.randn(B, K, *GRID, generator=generator) * scale,
    }


def explicit(outputs, mode, size):
    """Class by class and query by query in float64."""
    logits = outputs["pred_logits"].double()
    probabilities = logits.exp() / logits.exp().sum(dim=2, keepdim=True)
    upsampled = F.interpolate(outputs["pred_masks"].double(), size, mode="bilinear", align_corners=False)
    masks = 1 / (1 + (-upsampled).exp())
    scores = torch.zeros(B, K, *size, dtype=torch.float64)
    for image in range(B):
        for class_id in range(K):
            for query in range(K) if mode == "mix" else [class_id]:
                scores[image, class_id] += probabilities[image, query, class_id] * masks[image, query]
    return scores


@pytest.mark.parametrize("size", [SIZE, GRID, (7, 5)])
@pytest.mark.parametrize("mode", MODES)
def test_scores_equal_the_formula(mode, size):
    scores = SemanticInference(mode)(make_outputs(), size)
    assert scores.shape == (B, K, *size) and scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), explicit(make_outputs(), mode, size), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [SIZE, GRID])
@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("mode", MODES)
def test_scores_without_gradients_are_equal_and_leave_inputs_alone(mode, context, size):
    outputs = make_outputs()
    with_gradients = SemanticInference(mode)({name: x.requires_grad_() for name, x in make_outputs().items()}, size)
    with context():
        scores = SemanticInference(mode)(outputs, size)
    torch.testing.assert_close(scores.clone(), with_gradients.detach(), rtol=1e-6, atol=1e-7)
    for name, tensor in make_outputs().items():
        assert torch.equal(outputs[name], tensor)


@pytest.mark.parametrize("size", [SIZE, GRID, (7, 5)])
def test_scores_of_softmax_equal_the_formula(size):
    """Class logits are not read, and the classes of a pixel sum to one."""
    masks = make_outputs()["pred_masks"]
    scores = SemanticInference("softmax")({"pred_masks": masks}, size)
    exponentials = F.interpolate(masks.double(), size, mode="bilinear", align_corners=False).exp()
    expected = exponentials / exponentials.sum(dim=1, keepdim=True)
    torch.testing.assert_close(scores.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(masks, make_outputs()["pred_masks"])


@pytest.mark.parametrize("mode", MODES)
def test_gradients_reach_both_inputs(mode):
    outputs = {name: x.requires_grad_() for name, x in make_outputs().items()}
    SemanticInference(mode)(outputs, SIZE).square().sum().backward()
    assert all(x.grad.isfinite().all() and x.grad.any() for x in outputs.values())


@pytest.mark.parametrize(("mode", "highest"), [("diagonal", 1), ("mix", K)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_scores_are_bounded(mode, highest, scale):
    scores = SemanticInference(mode)(make_outputs(scale), SIZE)
    assert scores.isfinite().all() and scores.min() >= 0 and scores.max() <= highest


def test_queries_that_agree_add_up_with_mix_only():
    outputs = {"pred_logits": torch.zeros(1, K, K + 1), "pred_masks": torch.full((1, K, *GRID), 50.0)}
    outputs["pred_logits"][..., 2] = 50.0  # every query is sure of class 2, everywhere
    scores = [SemanticInference(mode)(outputs, GRID)[0, 2] for mode in MODES]
    torch.testing.assert_close(scores, [torch.full(GRID, float(K)), torch.ones(GRID)])


def test_mix_is_diagonal_plus_the_votes_of_other_queries():
    outputs = make_outputs()
    mix, diagonal = (SemanticInference(mode)(outputs, SIZE) for mode in MODES)
    masks = F.interpolate(outputs["pred_masks"], SIZE, mode="bilinear", align_corners=False).sigmoid()
    others = outputs["pred_logits"].softmax(dim=2)[..., :K] * (1 - torch.eye(K))
    torch.testing.assert_close(mix - diagonal, torch.einsum("bqc,bqhw->bchw", others, masks), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(mix, diagonal)


def test_modes_are_equal_if_queries_vote_for_their_own_class_only():
    outputs = make_outputs()
    allowed = torch.cat([torch.eye(K), torch.ones(K, 1)], dim=1).bool()
    outputs["pred_logits"] = outputs["pred_logits"].masked_fill(~allowed, -torch.inf)
    mix, diagonal = (SemanticInference(mode)(outputs, SIZE) for mode in MODES)
    torch.testing.assert_close(mix, diagonal)


@pytest.mark.parametrize("mode", ["", "Mix", "argmax"])
def test_unknown_modes_are_refused(mode):
    with pytest.raises(ArgumentError, match=r"mode .* must be 'mix', 'diagonal' or 'softmax'"):
        SemanticInference(mode)
