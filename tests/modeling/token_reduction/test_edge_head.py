"""Edge labels against a loop over pixels, the edge loss, and the edge head.

Shape shorthand: B images, H x W pixels, h x w patches, C width.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from segvit.modeling.losses.edge_loss import EdgeLoss, class_change_pixels, edge_patches
from segvit.modeling.token_reduction.edge_head import EdgeHead, edge_scores

IGNORED = 255


def draw_labels(seed, size=(12, 20), ids=(0, 1, 2, IGNORED)):
    """Two label maps of blocks and single pixels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.tensor(ids)[torch.randint(len(ids), (2, 1, 3, 4), generator=generator)].float()
    labels = F.interpolate(coarse, size=size, mode="nearest")[:, 0].long()
    labels[:, size[0] // 2, size[1] // 2] = torch.tensor(ids)[torch.randint(len(ids), (2,), generator=generator)]
    return labels


def boundary_by_loop(labels):
    boundary = torch.zeros_like(labels, dtype=torch.bool)
    count, height, width = labels.shape
    for b in range(count):
        for y in range(height):
            for x in range(width):
                for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        label, other = labels[b, y, x], labels[b, y + dy, x + dx]
                        boundary[b, y, x] |= bool(label != other and label != IGNORED and other != IGNORED)
    return boundary


@pytest.mark.parametrize("seed", range(4))
def test_class_change_pixels_have_a_neighbour_of_another_class(seed):
    labels = draw_labels(seed)
    expected = boundary_by_loop(labels)
    assert expected.any() and not expected.all()
    assert torch.equal(class_change_pixels(labels, ignore_value=IGNORED), expected)


@settings(deadline=None, max_examples=30)
@given(patch=st.integers(1, 5), grid=st.tuples(st.integers(1, 6), st.integers(1, 6)), seed=st.integers(0, 1000))
def test_a_patch_is_an_edge_if_one_of_its_pixels_is(patch, grid, seed):
    labels = draw_labels(seed, size=(grid[0] * patch, grid[1] * patch))
    boundary = boundary_by_loop(labels)
    expected = boundary.unflatten(1, (grid[0], patch)).unflatten(3, (grid[1], patch)).any(dim=4).any(dim=2)
    assert torch.equal(edge_patches(labels, grid, ignore_value=IGNORED), expected)


def test_ignored_pixels_make_no_boundary():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, 2:6, 2:6] = IGNORED
    assert not class_change_pixels(labels, ignore_value=IGNORED).any()
    labels[:, 2:6, 3:5] = 1  # ignored pixels to its left and right, class 0 above and below
    assert class_change_pixels(labels, ignore_value=IGNORED).sum() == 8


def test_loss_is_the_weighted_mean_over_labelled_patches():
    labels = draw_labels(1, size=(12, 16))
    labels[0, :4, :4] = IGNORED  # a patch without any label
    logits = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    edges = edge_patches(labels, (3, 4), ignore_value=IGNORED)
    known = (labels != IGNORED).unflatten(1, (3, 4)).unflatten(3, (4, 4)).any(dim=4).any(dim=2)
    assert not known[0, 0, 0] and known.sum() > 12
    total = weights = 0.0
    for b, y, x in known.nonzero().tolist():
        weight = 3.0 if edges[b, y, x] else 1.0
        total -= weight * logits[b, :, y, x].log_softmax(dim=0)[int(edges[b, y, x])].item()
        weights += weight
    criterion = EdgeLoss(ignore_value=IGNORED, weight=0.5, edge_weight=3.0)
    loss = criterion(logits, criterion.targets(labels, (3, 4)))
    assert loss.item() == pytest.approx(0.5 * total / weights, rel=1e-5)


def test_loss_of_images_without_labels_is_zero_and_attached():
    logits = torch.randn(1, 2, 3, 4, requires_grad=True)
    criterion = EdgeLoss(ignore_value=IGNORED)
    loss = criterion(logits, criterion.targets(torch.full((1, 12, 16), IGNORED), (3, 4)))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_no_gradient_flows_from_the_head_to_the_encoder():
    torch.manual_seed(0)
    patches = torch.randn(2, 12, 8, requires_grad=True)
    head = EdgeHead(embed_dim=8)
    logits = head(patches, (3, 4))
    assert logits.shape == (2, 2, 3, 4)
    scores = edge_scores(logits)
    assert scores.shape == (2, 3, 4) and (scores > 0).all() and (scores < 1).all()
    logits.square().sum().backward()
    assert patches.grad is None
    assert all(parameter.grad.any() for parameter in head.parameters())
