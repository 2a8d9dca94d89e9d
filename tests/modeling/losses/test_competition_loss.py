"""`CompetitionLoss`: against its definition, its gradients, and batches of ignored pixels.

Shape shorthand: B images, H x W pixels, K classes of the model, k of the new group.
"""

import torch

from segvit.modeling.losses.competition_loss import CompetitionLoss
from segvit.modeling.losses.targets import targets_of_labels
from segvit.modeling.postprocessing.semantic_inference import SemanticInference

B, K, NEW, SIZE = 2, 5, 2, (16, 24)
BACKGROUND, IGNORED = 7, 255


def outputs():
    generator = torch.Generator().manual_seed(0)
    new = {
        "pred_logits": torch.randn(B, NEW, NEW + 1, generator=generator),
        "pred_masks": torch.randn(B, NEW, 4, 6, generator=generator),
    }
    older = {
        "class_probabilities": torch.rand(B, K, generator=generator),
        "pred_masks": torch.randn(B, K, 4, 6, generator=generator),
    }
    return new, older


def label_maps(*ids):
    generator = torch.Generator().manual_seed(1)
    return torch.tensor(ids)[torch.randint(len(ids), (B, *SIZE), generator=generator)]


def loss(new, older, labels, *, stride=1, weight=3.0):
    targets = targets_of_labels(labels, num_classes=NEW, ignore_value=IGNORED)
    return CompetitionLoss(weight=weight, stride=stride)(new, older, targets)


def test_the_loss_is_the_cross_entropy_of_normalized_scores():
    new, older = outputs()
    labels = label_maps(0, 1, BACKGROUND, IGNORED)
    inference = SemanticInference("diagonal")
    scores = inference(new, SIZE)
    others = inference(older, SIZE).amax(dim=1)
    total = scores.sum(dim=1) + others
    terms = []
    for score, label in ((scores[:, 0], 0), (scores[:, 1], 1), (others, BACKGROUND)):
        terms.append(-(score / total).log()[labels == label])
    torch.testing.assert_close(loss(new, older, labels), 3 * torch.cat(terms).mean(), rtol=1e-4, atol=1e-5)


def test_only_the_new_group_has_gradients():
    new, older = outputs()
    for tensor in (*new.values(), *older.values()):
        tensor.requires_grad_()
    loss(new, older, label_maps(0, BACKGROUND)).backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in new.values())
    assert all(tensor.grad is None for tensor in older.values())


def test_the_loss_is_finite_on_subsampled_labels():
    new, older = outputs()
    labels = label_maps(0, 1, BACKGROUND, IGNORED)
    assert torch.isfinite(loss(new, older, labels, stride=2))


def test_the_loss_of_ignored_pixels_is_zero():
    new, older = outputs()
    new["pred_masks"].requires_grad_()
    value = loss(new, older, label_maps(IGNORED))
    value.backward()
    assert value == 0 and not new["pred_masks"].grad.any()
