"""Banded maps: read in order, resized as PyTorch does, averaged, joined.

Shape shorthand: K classes, H x W pixels.
"""

import pytest
import torch
import torch.nn.functional as F

from segvit.modeling.postprocessing import row_bands
from segvit.modeling.postprocessing.row_bands import (
    RowReader,
    band_ranges,
    join_bands,
    labels_of_bands,
    mean_bands,
    resize_bands,
)

K = 3


@pytest.fixture(autouse=True)
def small_bands(monkeypatch):
    monkeypatch.setattr(row_bands, "ELEMENTS_PER_BAND", 150)


def make_map(height, width, seed=0):
    return torch.rand(K, height, width, generator=torch.Generator().manual_seed(seed))


def cut(scores, rows):
    """An iterator, so that nothing can be read twice."""
    return iter(scores.split(rows, dim=1))


def test_ranges_cover_every_row_once():
    ranges = list(band_ranges(K, (17, 10)))
    assert ranges == [(0, 5), (5, 10), (10, 15), (15, 17)]
    assert list(band_ranges(K, (2, 1000))) == [(0, 1), (1, 2)]  # a row is not divided


@pytest.mark.parametrize("rows", [1, 4, 20])
def test_reader(rows):
    scores = make_map(20, 6)
    reader = RowReader(cut(scores, rows))
    for start, stop in [(0, 3), (2, 3), (2, 9), (15, 16), (15, 20), (19, 20)]:
        assert torch.equal(reader.read(start, stop), scores[:, start:stop])


@pytest.mark.parametrize("rows", [1, 5, 100])
@pytest.mark.parametrize("size", [(13, 17), (1, 1), (40, 7)])
@pytest.mark.parametrize("wanted", [(13, 17), (31, 50), (5, 4), (1, 1), (26, 17), (13, 34), (64, 3)])
def test_resize_equals_interpolate(size, wanted, rows):
    scores = make_map(*size)
    expected = F.interpolate(scores[None], wanted, mode="bilinear", align_corners=False)[0]
    resized = torch.cat(list(resize_bands(cut(scores, rows), size, wanted)), dim=1)
    torch.testing.assert_close(resized, expected, rtol=1e-6, atol=1e-6)


def test_resize_of_many_rows_rounds_as_interpolate(monkeypatch):
    """At row 5000 a position in float32 is exact to a few ten-thousandths only; both must be off alike."""
    monkeypatch.setattr(row_bands, "ELEMENTS_PER_BAND", 2**14)
    scores = make_map(1377, 2)
    expected = F.interpolate(scores[None], (5501, 2), mode="bilinear", align_corners=False)[0]
    resized = torch.cat(list(resize_bands(cut(scores, 100), (1377, 2), (5501, 2))), dim=1)
    torch.testing.assert_close(resized, expected, rtol=0, atol=5e-5)


def test_resized_bands_are_small():
    bands = list(resize_bands(cut(make_map(9, 10), 9), (9, 10), (90, 25)))
    assert {band.shape for band in bands} == {(K, 2, 25)} and len(bands) == 45


def test_mean_of_differently_cut_maps():
    maps = [make_map(23, 10, seed) for seed in range(3)]
    bands = list(mean_bands([cut(scores, rows) for scores, rows in zip(maps, (23, 4, 7))], (23, 10)))
    assert [band.shape[1] for band in bands] == [5, 5, 5, 5, 3]
    torch.testing.assert_close(torch.cat(bands, dim=1), sum(maps) / 3)


def test_join_and_labels():
    scores = make_map(11, 4)
    assert torch.equal(join_bands(cut(scores, 3), (11, 4)), scores)
    assert join_bands(iter([scores]), (11, 4)) is scores  # what is whole is not copied
    assert torch.equal(labels_of_bands(cut(scores, 3), scores.shape[1:]), scores.argmax(0))
    narrow = labels_of_bands(cut(scores, 3), scores.shape[1:], torch.uint8)
    assert narrow.dtype == torch.uint8 and torch.equal(narrow.long(), scores.argmax(0))
