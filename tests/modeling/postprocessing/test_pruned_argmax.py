"""Labels of pruned classes against the argmax of all scores, to the last bit.

Shape shorthand: K classes, h x w grid, H x W pixels.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segvit.modeling.postprocessing import pruned_argmax as class_pruning
from segvit.modeling.postprocessing.pruned_argmax import pruned_labels
from segvit.modeling.postprocessing.row_bands import resize_bands
from segvit.modeling.postprocessing.semantic_inference import class_scores


def all_labels(masks, probabilities, covered, size, wanted):
    """The first of the highest of all scores."""
    scores = class_scores(masks[None], probabilities[None], covered)[0, :, : size[0], : size[1]]
    scores = torch.cat(list(resize_bands([scores], size, wanted)), dim=1)
    return (scores == scores.amax(dim=0)).int().argmax(dim=0)


def labels_of(masks, probabilities, covered, size, wanted):
    return pruned_labels(masks, probabilities, covered=covered, size=size, wanted=wanted)


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
    wanted=st.none() | st.tuples(st.integers(1, 97), st.integers(1, 97)),
    seed=st.integers(0, 999),
)
def test_labels_are_the_argmax(kind, num_classes, grid, patch, cut, wanted, seed):
    masks, probabilities = scene(kind, num_classes, grid, seed)
    covered = (grid[0] * patch, grid[1] * patch)
    size = tuple(length - min(less, patch - 1) for length, less in zip(covered, cut))
    sizes = (covered, size, wanted or size)
    with torch.no_grad():
        labels = labels_of(masks, probabilities, *sizes)
        assert labels.dtype == torch.int64 and labels.shape == sizes[2]
        assert torch.equal(labels, all_labels(masks, probabilities, *sizes))


@pytest.mark.parametrize("kind", ["noise", "ties", "flat", "few"])
@pytest.mark.parametrize("wanted", [(300, 70), (97, 211), (33, 40)])
def test_labels_of_more_pixels_than_are_decided_together(monkeypatch, kind, wanted):
    """Part by part, each of a few rows, and in the type that is asked for."""
    monkeypatch.setattr(class_pruning, "PIXELS", 900)
    masks, probabilities = scene(kind, 9, (3, 4), seed=2)
    sizes = {"covered": (24, 32), "size": (21, 30), "wanted": wanted}
    with torch.no_grad():
        labels = pruned_labels(masks, probabilities, **sizes, dtype=torch.uint8)
        assert labels.dtype == torch.uint8
        assert torch.equal(labels.long(), all_labels(masks, probabilities, *sizes.values()))


@pytest.mark.parametrize("kind", ["noise", "ties", "few"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_whatever_the_number_of_threads(kind, threads):
    """Threads share a map of all classes other than one of a single class."""
    masks, probabilities = scene(kind, 40, (13, 15), seed=1)
    sizes = ((208, 240), (200, 231), (200, 231))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            assert torch.equal(labels_of(masks, probabilities, *sizes), all_labels(masks, probabilities, *sizes))
    finally:
        torch.set_num_threads(before)


def test_equal_classes_at_the_ends_of_vectors():
    """The bits of a class do not depend on its place among the others: the first of two equal classes wins."""
    masks, probabilities = scene("noise", 2, (33, 35), seed=0)
    masks, probabilities = masks.repeat(9, 1, 1), probabilities.repeat(9)
    sizes = ((462, 490), (461, 487), (461, 487))
    with torch.no_grad():
        assert labels_of(masks, probabilities, *sizes).max() <= 1
        assert all_labels(masks, probabilities, *sizes).max() <= 1


def count_scored(monkeypatch, masks, probabilities, sizes):
    scored = []

    def counting(masks, probabilities, size):
        scored.append(masks.shape[1])
        return class_scores(masks, probabilities, size)

    monkeypatch.setattr(class_pruning, "class_scores", counting)
    with torch.no_grad():
        labels_of(masks, probabilities, *sizes)
    return sum(scored)


def test_improbable_classes_are_not_scored(monkeypatch):
    """Five classes share the picture; the other 145 are below what wins anywhere."""
    masks = torch.randn(150, 16, 16, generator=torch.Generator().manual_seed(0))
    masks[:5] = -8.0
    masks[torch.arange(16) * 5 // 16, :, torch.arange(16)] = 8.0
    probabilities = torch.full((150,), 1e-3)
    probabilities[:5] = 0.95
    assert count_scored(monkeypatch, masks, probabilities, ((256, 256),) * 3) == 5


def test_a_class_that_wins_everywhere_takes_no_scores(monkeypatch):
    masks = torch.full((7, 4, 4), -9.0)
    masks[3] = 9.0
    assert count_scored(monkeypatch, masks, torch.full((7,), 0.5), ((64, 64),) * 3) == 0


def test_half_precision_is_scored_in_float32():
    masks, probabilities = scene("noise", 6, (4, 5), seed=3)
    half = (masks.bfloat16(), probabilities.bfloat16(), (64, 80), (64, 80), (90, 70))
    with torch.no_grad():
        assert class_scores(half[0][None], half[1][None], half[2]).dtype == torch.float32
        assert torch.equal(labels_of(*half), all_labels(*half))
