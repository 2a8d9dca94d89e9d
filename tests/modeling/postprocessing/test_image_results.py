"""Labels on a GPU, computed by groups of classes: the argmax of the resized scores, ties included."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.labels import assert_labels_are_argmax
from segvit.modeling.postprocessing import image_results, score_bands
from segvit.modeling.postprocessing.image_results import labels_of_masks, labels_of_scores, resized_scores
from segvit.modeling.postprocessing.image_sizes import ImageSizes
from segvit.modeling.postprocessing.semantic_inference import class_scores


@pytest.fixture
def like_a_gpu(monkeypatch):
    """Compute labels of CPU tensors as on a GPU, at most 2000 scores at once."""
    monkeypatch.setattr(image_results, "prefers_few_launches", lambda device: True)
    monkeypatch.setattr(score_bands, "ELEMENTS_PER_BAND", 2000)
    monkeypatch.setattr(score_bands, "ELEMENTS_PER_GPU_BAND", 2000)


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize("output", [(40, 60), (80, 120), (20, 30)])
@pytest.mark.parametrize("seed", range(4))
def test_the_first_of_equal_scores_wins(output, seed):
    """Many ties: scores have few values, and sizes at which their interpolation is exact."""
    scores = torch.randint(0, 3, (11, 48, 64), generator=torch.Generator().manual_seed(seed)).float()
    sizes = ImageSizes(padded=(48, 64), image=(40, 60), output=output)
    resized = resized_scores(scores, sizes)
    assert resized.shape == (11, *output)
    assert ((resized == resized.amax(dim=0)).sum(dim=0) > 1).float().mean() > 0.02
    labels = labels_of_scores(scores, sizes, torch.int16)
    assert labels.dtype == torch.int16
    assert torch.equal(labels.long(), resized.argmax(dim=0))


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize("output", [(40, 60), (22, 61), (97, 33), (1, 1)])
@torch.no_grad()
def test_labels_of_masks_are_the_argmax_of_their_scores(output):
    generator = torch.Generator().manual_seed(0)
    masks, probabilities = torch.randn(11, 3, 4, generator=generator), torch.rand(11, generator=generator)
    sizes = ImageSizes(padded=(48, 64), image=(40, 60), output=output)
    scores = resized_scores(class_scores(masks[None], probabilities[None], sizes.padded)[0], sizes)
    labels = labels_of_masks(masks, probabilities, sizes, torch.uint8)
    assert labels.dtype == torch.uint8
    assert_labels_are_argmax(labels.long(), scores)


@given(st.integers(1, 40), st.integers(1, 3000), st.integers(1, 3000))
def test_groups_cover_every_class_once_and_are_bounded(num_classes, height, width):
    size = (height, width)
    groups = list(image_results.class_groups(num_classes, ImageSizes(size, size, size), torch.device("cuda")))
    assert [index for some in groups for index in range(num_classes)[some]] == list(range(num_classes))
    longest = max(some.stop - some.start for some in groups)
    assert longest == 1 or longest * height * width <= score_bands.ELEMENTS_PER_GPU_BAND


def test_classes_are_pruned_on_a_cpu_only():
    assert not score_bands.prefers_few_launches(torch.device("cpu"))
    assert score_bands.prefers_few_launches(torch.device("cuda", 1))
