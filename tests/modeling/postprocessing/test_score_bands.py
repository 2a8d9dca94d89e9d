"""Bands of scores: reading, resizing as PyTorch does, averaging, joining and argmax.

Shape shorthand: K classes, H x W pixels.
"""

import pytest
import torch
import torch.nn.functional as F

from segvit.modeling.postprocessing import score_bands
from segvit.modeling.postprocessing.score_bands import (
    RowReader,
    argmax_classes,
    band_ranges,
    join_bands,
    labels_of,
    labels_of_bands,
    mean_bands,
    resize_bands,
)

CPU = torch.device("cpu")
K = 3


@pytest.fixture(autouse=True)
def few_rows_per_band(monkeypatch):
    monkeypatch.setattr(score_bands, "ELEMENTS_PER_BAND", 150)


def make_map(height, width, seed=0):
    return torch.rand(K, height, width, generator=torch.Generator().manual_seed(seed))


def split_rows(scores, rows):
    """An iterator of bands of at most `rows` rows; each can be read once."""
    return iter(scores.split(rows, dim=1))


def test_ranges_cover_every_row_once():
    ranges = list(band_ranges(K, (17, 10), CPU))
    assert ranges == [(0, 5), (5, 10), (10, 15), (15, 17)]
    assert list(band_ranges(K, (2, 1000), CPU)) == [(0, 1), (1, 2)]  # at least one row


@pytest.mark.parametrize("rows", [1, 4, 20])
def test_reader_returns_the_rows_of_the_map(rows):
    scores = make_map(20, 6)
    reader = RowReader(split_rows(scores, rows))
    for start, stop in [(0, 3), (2, 3), (2, 9), (15, 16), (15, 20), (19, 20)]:
        assert torch.equal(reader.read(start, stop), scores[:, start:stop])


@pytest.mark.parametrize("rows", [1, 5, 100])
@pytest.mark.parametrize("input_size", [(13, 17), (1, 1), (40, 7)])
@pytest.mark.parametrize("output_size", [(13, 17), (31, 50), (5, 4), (1, 1), (26, 17), (13, 34), (64, 3)])
def test_resize_equals_interpolate(input_size, output_size, rows):
    scores = make_map(*input_size)
    expected = F.interpolate(scores[None], output_size, mode="bilinear", align_corners=False)[0]
    resized = torch.cat(list(resize_bands(split_rows(scores, rows), input_size, output_size)), dim=1)
    torch.testing.assert_close(resized, expected, rtol=1e-6, atol=1e-6)


def test_resize_of_many_rows_equals_interpolate(monkeypatch):
    """At row 5000 a float32 position is only exact to a few ten-thousandths; both must round it alike."""
    monkeypatch.setattr(score_bands, "ELEMENTS_PER_BAND", 2**14)
    scores = make_map(1377, 2)
    expected = F.interpolate(scores[None], (5501, 2), mode="bilinear", align_corners=False)[0]
    resized = torch.cat(list(resize_bands(split_rows(scores, 100), (1377, 2), (5501, 2))), dim=1)
    torch.testing.assert_close(resized, expected, rtol=0, atol=5e-5)


def test_resized_bands_have_as_many_rows_as_fit():
    bands = list(resize_bands(split_rows(make_map(9, 10), 9), (9, 10), (90, 25)))
    assert {band.shape for band in bands} == {(K, 2, 25)} and len(bands) == 45


def test_maps_cut_at_different_rows_are_averaged():
    maps = [make_map(23, 10, seed) for seed in range(3)]
    bands = list(mean_bands([split_rows(scores, rows) for scores, rows in zip(maps, (23, 4, 7))], (23, 10)))
    assert [band.shape[1] for band in bands] == [5, 5, 5, 5, 3]
    torch.testing.assert_close(torch.cat(bands, dim=1), sum(maps) / 3)


def test_bands_are_joined_and_turned_into_labels():
    scores = make_map(11, 4)
    assert torch.equal(join_bands(split_rows(scores, 3), (11, 4)), scores)
    assert join_bands(iter([scores]), (11, 4)) is scores  # no copy of a single band
    assert torch.equal(labels_of_bands(split_rows(scores, 3), scores.shape[1:]), scores.argmax(0))
    narrow = labels_of_bands(split_rows(scores, 3), scores.shape[1:], torch.uint8)
    assert narrow.dtype == torch.uint8 and torch.equal(narrow.long(), scores.argmax(0))


def test_argmax_classes_takes_the_first_of_equals():
    scores = torch.randint(0, 4, (9, 13, 11), generator=torch.Generator().manual_seed(0)).float()  # many ties
    expected = (scores == scores.amax(dim=0)).int().argmax(dim=0)
    assert torch.equal(argmax_classes(scores), expected)


def test_labels_of_scores_and_of_labels():
    scores = torch.rand(3, 4, 5)
    for output in ({"sem_seg": scores}, {"sem_seg_labels": scores.argmax(0)}):
        assert torch.equal(labels_of(output), scores.argmax(0))
