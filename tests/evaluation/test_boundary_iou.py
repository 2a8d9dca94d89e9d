"""Boundary pixels equal one erosion per class, as the paper defines them; the IoU over whole datasets.

Shape shorthand: K classes, H x W pixels.
"""

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from segvit.evaluation.boundary_iou import BoundaryCounts, boundary_iou, boundary_pixels, boundary_width

K, IGNORE = 4, 255


def blobs(size, seed):
    """Labels with regions of a few pixels to a few dozen."""
    noise = np.random.default_rng(seed).normal(size=(K, *size))
    return gaussian_filter(noise, (0, 4, 4)).argmax(0)


def eroded_boundary(mask, width):
    """A mask less its erosion by `width` steps of 3 x 3; pixels outside the image count as background."""
    padded = np.pad(mask.astype(np.uint8), 1)
    return mask & ~cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1].astype(bool)


@pytest.mark.parametrize("width", [1, 3, 8, 40])
@pytest.mark.parametrize("size", [(40, 50), (7, 61), (1, 1)])
def test_boundaries_equal_an_erosion_per_class(size, width):
    labels = blobs(size, seed=0)
    expected = np.zeros(size, dtype=bool)
    for index in range(K):
        expected |= eroded_boundary(labels == index, width)
    assert np.array_equal(boundary_pixels(labels, np.zeros(size, dtype=bool), width), expected)


@pytest.mark.parametrize("highest", [253, 254, 255, 300, 65533, 65534, 70000])
def test_boundaries_do_not_depend_on_the_ids(highest):
    """Ids at the ends of one and two bytes, and above them."""
    labels = blobs((40, 50), seed=0)
    ignored = blobs((40, 50), seed=1) == 0
    ids = np.array([0, 1, highest - 1, highest])[labels]
    assert np.array_equal(boundary_pixels(ids, ignored, 3), boundary_pixels(labels, ignored, 3))


def test_width_is_two_per_cent_of_the_diagonal():
    assert boundary_width((300, 400)) == 10
    assert boundary_width((3, 4)) == 1


def test_ignored_pixels_are_not_boundaries_and_cause_none():
    labels = np.zeros((30, 30), dtype=int)
    labels[:, 20:] = 1
    ignored = np.zeros((30, 30), dtype=bool)
    ignored[10:14, 5:9] = True
    labels_with_hole = np.where(ignored, IGNORE, labels)
    plain, holed = (boundary_pixels(ids, ignored, 2) for ids in (labels, labels_with_hole))
    assert not plain[ignored].any() and np.array_equal(plain, holed)
    assert np.array_equal(plain, boundary_pixels(labels, np.zeros_like(ignored), 2) & ~ignored)


def test_iou_over_images_equals_masks():
    images = [((60, 80), 0), ((45, 33), 1), ((100, 20), 2)]
    counts, shared, union = BoundaryCounts(K), np.zeros(K), np.zeros(K)
    for size, seed in images:
        truth, labels = blobs(size, seed), blobs(size, seed + 100)
        labels[:, : size[1] // 2] = truth[:, : size[1] // 2]
        truth[truth == K - 1] = 0  # the last class is predicted alone
        counts.add(labels, truth, np.zeros(size, dtype=bool))
        for index in range(K):
            true, found = (eroded_boundary(ids == index, boundary_width(size)) for ids in (truth, labels))
            shared[index] += (true & found).sum()
            union[index] += (true | found).sum()
    result = boundary_iou(counts.counts)
    assert np.isnan(result[-1])
    np.testing.assert_allclose(result[:-1], 100 * (shared / union)[:-1])
    assert (result[:-1] > 10).all() and (result[:-1] < 90).all()


def test_perfect_predictions_score_100():
    counts, truth = BoundaryCounts(K), blobs((40, 50), 0)
    ignored = truth == 2
    counts.add(np.where(ignored, 1, truth), np.where(ignored, IGNORE, truth), ignored)
    assert boundary_iou(counts.counts).tolist() == [100, 100, pytest.approx(np.nan, nan_ok=True), 100]


def test_all_ignored_pixels_give_nan():
    counts = BoundaryCounts(K)
    counts.add(np.zeros((5, 6), int), np.full((5, 6), IGNORE), np.ones((5, 6), dtype=bool))
    assert counts.counts.sum() == 0 and np.isnan(boundary_iou(counts.counts)).all()
