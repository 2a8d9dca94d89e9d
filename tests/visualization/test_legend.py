"""Overlays in the picture's own pixels, with a legend below.

Shape shorthand: H x W pixels, K classes.
"""

import numpy as np
import pytest

from segvit.datasets.palette import distinct_colors
from segvit.visualization import LegendOverlay, blend_labels, color_labels
from segvit.visualization.legend import draw_legend

COLORS = distinct_colors(40, start=1)
NAMES = [f"class {index}" for index in range(40)]


def swatches(strip):
    return {tuple(color) for color in np.unique(strip.reshape(-1, 3), axis=0).tolist()}


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (60, 200, 3), dtype=np.uint8)


def labels_of(ids, size=(60, 200)):
    return np.resize(np.asarray(ids, dtype=np.uint8), size)


def overlay(count):
    return LegendOverlay(names=NAMES[:count], colors=COLORS[:count])


def test_the_legend_lists_the_classes_of_the_picture(picture):
    drawn = overlay(40).draw_image(picture, labels_of([3, 17]))
    height, width = picture.shape[:2]
    assert drawn.dtype == np.uint8 and drawn.shape[0] > height and drawn.shape[1] == width
    assert np.array_equal(drawn[:height], blend_labels(picture, labels_of([3, 17]), COLORS))
    seen = swatches(drawn[height:])
    assert {COLORS[3], COLORS[17]} <= seen and not {COLORS[0], COLORS[4]} & seen


@pytest.mark.parametrize("count", [10, 40])
def test_frames_have_one_size_whatever_is_in_them(picture, count):
    drawn = [overlay(count).draw_frame(picture, labels_of(ids)) for ids in ([0], [0, 3, 5], range(count))]
    assert len({frame.shape for frame in drawn}) == 1
    assert drawn[0].shape[0] > picture.shape[0] and drawn[0].shape[1] >= picture.shape[1]


def test_few_classes_stay_in_the_legend_of_a_video(picture):
    legends = [overlay(10).draw_frame(picture, labels_of(ids))[60:] for ids in ([0], [4, 5])]
    assert np.array_equal(*legends) and set(COLORS[:10]) <= swatches(legends[0])


def test_of_many_classes_a_video_lists_the_largest(picture):
    labels = labels_of([39, 39, 2])
    seen = swatches(overlay(40).draw_frame(picture, labels)[60:])
    assert {COLORS[39], COLORS[2]} <= seen and COLORS[5] not in seen


def test_a_narrow_picture_is_widened_for_its_legend():
    picture = np.zeros((4, 6, 3), dtype=np.uint8)
    drawn = overlay(10).draw_image(picture, labels_of([1, 2], (4, 6)))
    assert drawn.shape[1] > 6 and (drawn[:4, 6:] == 255).all()


def test_a_legend_of_nothing():
    assert draw_legend([], [], width=30).shape == (0, 30, 3)


def test_names_need_not_be_ascii():
    plain, accented = (draw_legend([name], COLORS[:1], width=300) for name in ("Bche", "Bäche"))
    assert not np.array_equal(plain, accented)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_colours_of_ids(dtype):
    labels = np.array([[0, 1], [2, 200]], dtype=dtype)
    expected = [[COLORS[0], COLORS[1]], [COLORS[2], (0, 0, 0)]]
    assert np.array_equal(color_labels(labels, COLORS[:3]), expected)


def test_blending():
    image = np.full((1, 3, 3), 100, dtype=np.uint8)
    labels = np.array([[0, 1, 255]])
    blended = blend_labels(image, labels, [(200, 0, 100), (0, 0, 0)], opacity=0.5)
    assert np.array_equal(blended, [[[150, 50, 100], [50, 50, 50], [40, 40, 40]]])
    assert np.array_equal(blend_labels(image[:, ::-1], labels, COLORS, opacity=0)[:, :2], image[:, :2])


def test_more_ids_than_a_byte_holds():
    colors = distinct_colors(400)
    labels = np.array([[0, 300, 399]], dtype=np.int32)
    assert np.array_equal(color_labels(labels, colors), [[colors[0], colors[300], colors[399]]])
