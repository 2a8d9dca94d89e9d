"""`LegendOverlay`, `draw_legend`, `color_labels` and `blend_labels`: colours, legends and sizes.

Shape shorthand: H x W pixels, K classes.
"""

import numpy as np
import pytest

from segvit.classes.palette import distinct_colors
from segvit.visualization import LegendOverlay, blend_labels, color_labels
from segvit.visualization.legend import draw_legend

COLORS = distinct_colors(40)
NAMES = [f"class {index}" for index in range(40)]


def colors_in(strip):
    return {tuple(color) for color in np.unique(strip.reshape(-1, 3), axis=0).tolist()}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (60, 200, 3), dtype=np.uint8)


def labels_of(ids, size=(60, 200)):
    return np.resize(np.asarray(ids, dtype=np.uint8), size)


def overlay(count):
    return LegendOverlay(names=NAMES[:count], colors=COLORS[:count])


def test_an_images_legend_lists_its_classes(image):
    drawn = overlay(40).draw_image(image, labels_of([3, 17]))
    height, width = image.shape[:2]
    assert drawn.dtype == np.uint8 and drawn.shape[0] > height and drawn.shape[1] == width
    assert np.array_equal(drawn[:height], blend_labels(image, labels_of([3, 17]), COLORS))
    legend_colors = colors_in(drawn[height:])
    assert {COLORS[3], COLORS[17]} <= legend_colors and not {COLORS[0], COLORS[4]} & legend_colors


def test_pixels_without_a_class_are_not_listed(image):
    drawn = overlay(10).draw_image(image, labels_of([3, 255]))
    assert np.array_equal(drawn[60:], overlay(10).draw_image(image, labels_of([3]))[60:])


@pytest.mark.parametrize("count", [10, 40])
def test_frames_with_other_classes_have_the_same_size(image, count):
    drawn = [overlay(count).draw_frame(image, labels_of(ids)) for ids in ([0], [0, 3, 5], range(count))]
    assert len({frame.shape for frame in drawn}) == 1
    assert drawn[0].shape[0] > image.shape[0] and drawn[0].shape[1] >= image.shape[1]


def test_a_video_of_few_classes_always_lists_all(image):
    legends = [overlay(10).draw_frame(image, labels_of(ids))[60:] for ids in ([0], [4, 5])]
    assert np.array_equal(*legends) and set(COLORS[:10]) <= colors_in(legends[0])


def test_a_video_of_many_classes_lists_the_largest(image):
    labels = labels_of([39, 39, 2])
    legend_colors = colors_in(overlay(40).draw_frame(image, labels)[60:])
    assert {COLORS[39], COLORS[2]} <= legend_colors and COLORS[5] not in legend_colors


def test_a_narrow_image_is_padded_to_its_legend():
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    drawn = overlay(10).draw_image(image, labels_of([1, 2], (4, 6)))
    assert drawn.shape[1] > 6 and (drawn[:4, 6:] == 255).all()


def test_a_legend_without_classes_is_empty():
    assert draw_legend([], [], width=30).shape == (0, 30, 3)


def test_names_may_have_accents():
    plain, accented = (draw_legend([name], COLORS[:1], width=300) for name in ("Bche", "Bäche"))
    assert not np.array_equal(plain, accented)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_ids_without_a_colour_are_black(dtype):
    labels = np.array([[0, 1], [2, 200]], dtype=dtype)
    expected = [[COLORS[0], COLORS[1]], [COLORS[2], (0, 0, 0)]]
    assert np.array_equal(color_labels(labels, COLORS[:3]), expected)


def test_blending_dims_ignored_pixels():
    image = np.full((1, 3, 3), 100, dtype=np.uint8)
    labels = np.array([[0, 1, 255]])
    blended = blend_labels(image, labels, [(200, 0, 100), (0, 0, 0)], opacity=0.5)
    assert np.array_equal(blended, [[[150, 50, 100], [50, 50, 50], [40, 40, 40]]])
    assert np.array_equal(blend_labels(image[:, ::-1], labels, COLORS, opacity=0)[:, :2], image[:, :2])


def test_more_than_256_ids_have_colours():
    colors = distinct_colors(400)
    labels = np.array([[0, 300, 399]], dtype=np.int32)
    assert np.array_equal(color_labels(labels, colors), [[colors[0], colors[300], colors[399]]])
