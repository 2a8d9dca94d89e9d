"""`pruned_argmax` against the argmax of all scores, and how many classes it scores.

Shape shorthand: K classes, h x w grid, H x W pixels.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.labels import assert_labels_are_argmax
from segvit.modeling.postprocessing import pruned_argmax as module
from segvit.modeling.postprocessing.image_sizes import ImageSizes
from segvit.modeling.postprocessing.pruned_argmax import pruned_argmax
from segvit.modeling.postprocessing.score_bands import join_bands, resize_bands
from segvit.modeling.postprocessing.semantic_inference import class_scores


def all_scores(masks, probabilities, sizes):
    """(K, height, width) of every class at the output size."""
    height, width = sizes.image
    scores = class_scores(masks[None], probabilities[None], sizes.padded)[0, :, :height, :width]
    return join_bands(resize_bands([scores], sizes.image, sizes.output), sizes.output)


def scene(kind, num_classes, grid, seed):
    """Masks and probabilities: noise, ties between classes or pixels, certainty, or a few classes among many."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randn(num_classes, *grid, generator=generator) * 5
    probabilities = torch.rand(num_classes, generator=generator)
    if kind == "ties":
        masks, probabilities = masks.round(), torch.full((num_classes,), 0.5)
        masks[num_classes // 2 :] = masks[: num_classes - num_classes // 2].clone()
    elif kind == "flat":
        masks, probabilities = torch.zeros_like(masks), (probabilities * 3).round() / 3
    elif kind == "saturated":
        masks = masks * 40
    elif kind == "few":
        probabilities = torch.where(torch.arange(num_classes) % 5 == 2, 0.9 + 0.1 * probabilities, 0.02 * probabilities)
    return masks, probabilities


@given(
    kind=st.sampled_from(["noise", "ties", "flat", "saturated", "few"]),
    num_classes=st.integers(1, 23),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    patch=st.sampled_from([1, 4, 14, 16]),
    cut=st.tuples(st.integers(0, 13), st.integers(0, 13)),
    output=st.none() | st.tuples(st.integers(1, 97), st.integers(1, 97)),
    seed=st.integers(0, 999),
)
@torch.no_grad()
def test_labels_are_the_argmax_of_all_scores(kind, num_classes, grid, patch, cut, output, seed):
    masks, probabilities = scene(kind, num_classes, grid, seed)
    padded = (grid[0] * patch, grid[1] * patch)
    image = (padded[0] - min(cut[0], patch - 1), padded[1] - min(cut[1], patch - 1))
    sizes = ImageSizes(padded, image, output or image)
    labels = pruned_argmax(masks, probabilities, sizes)
    assert labels.dtype == torch.int64
    # Logits of 200, interpolated in another order, are off by more in float32.
    margin = 2e-5 if kind == "saturated" else 1e-6
    assert_labels_are_argmax(labels, all_scores(masks, probabilities, sizes), margin=margin)


@pytest.mark.parametrize("kind", ["noise", "ties", "flat", "few"])
@pytest.mark.parametrize("output", [(300, 70), (97, 211), (33, 40)])
@torch.no_grad()
def test_labels_larger_than_what_is_decided_at_once(monkeypatch, kind, output):
    """Decided in several parts, each of a few rows, and returned in the requested dtype."""
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 900)
    masks, probabilities = scene(kind, 9, (3, 4), seed=2)
    sizes = ImageSizes(padded=(24, 32), image=(21, 30), output=output)
    labels = pruned_argmax(masks, probabilities, sizes, dtype=torch.uint8)
    assert labels.dtype == torch.uint8
    assert_labels_are_argmax(labels, all_scores(masks, probabilities, sizes))


@torch.no_grad()
def test_the_first_of_equal_classes_wins():
    """Every class is scored alone, so equal classes have equal scores, in whatever order they come."""
    masks, probabilities = scene("noise", 2, (33, 35), seed=0)
    sizes = ImageSizes(padded=(462, 490), image=(461, 487), output=(461, 487))
    assert pruned_argmax(masks.repeat(9, 1, 1), probabilities.repeat(9), sizes).max() <= 1


def count_scored_classes(monkeypatch, masks, probabilities, size):
    scored = []

    def counting(masks, probabilities, size):
        scored.append(masks.shape[1])
        return class_scores(masks, probabilities, size)

    monkeypatch.setattr(module, "class_scores", counting)
    with torch.no_grad():
        pruned_argmax(masks, probabilities, ImageSizes(size, size, size))
    return sum(scored)


def test_improbable_classes_are_not_scored(monkeypatch):
    """Five classes fill the image; the other 145 are below the winning score everywhere."""
    masks = torch.randn(150, 16, 16, generator=torch.Generator().manual_seed(0))
    masks[:5] = -8.0
    masks[torch.arange(16) * 5 // 16, :, torch.arange(16)] = 8.0
    probabilities = torch.full((150,), 1e-3)
    probabilities[:5] = 0.95
    assert count_scored_classes(monkeypatch, masks, probabilities, (256, 256)) == 5


def test_a_class_that_wins_everywhere_needs_no_scores(monkeypatch):
    masks = torch.full((7, 4, 4), -9.0)
    masks[3] = 9.0
    assert count_scored_classes(monkeypatch, masks, torch.full((7,), 0.5), (64, 64)) == 0


@torch.no_grad()
def test_half_precision_is_scored_in_float32():
    masks, probabilities = (tensor.bfloat16() for tensor in scene("noise", 6, (4, 5), seed=3))
    sizes = ImageSizes(padded=(64, 80), image=(64, 80), output=(90, 70))
    scores = all_scores(masks, probabilities, sizes)
    assert scores.dtype == torch.float32
    assert_labels_are_argmax(pruned_argmax(masks, probabilities, sizes), scores)
