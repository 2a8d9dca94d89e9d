"""Default class colours: different for any number of classes, and told apart also by colour-blind viewers."""

import numpy as np
import pytest

from helpers.repository import ROOT
from helpers.scripts import load_script
from segvit.classes.palette import colors_beside, distinct_colors, voc_colors

make_palette = load_script(ROOT / "scripts" / "make_palette.py")

# The smallest OKLab distance between two of the first 20 colours; PASCAL VOC's colours reach 0.031, 0.006 and 0.009.
SMALLEST_DISTANCE = {"full": 0.12, "protanopia": 0.05, "deuteranopia": 0.05}


def test_the_palette_equals_that_of_its_script():
    assert np.array_equal(distinct_colors(256), make_palette.choose_colors(256))


@pytest.mark.parametrize("vision", SMALLEST_DISTANCE)
def test_the_first_20_colours_are_distinct_for_normal_and_colour_blind_viewers(vision):
    assert make_palette.smallest_distance(np.array(distinct_colors(20)), vision) > SMALLEST_DISTANCE[vision]


@pytest.mark.parametrize("vision", SMALLEST_DISTANCE)
def test_no_class_looks_like_ignored_pixels(vision):
    colors = np.array([(0, 0, 0), *distinct_colors(256)])
    lab = make_palette.to_oklab(colors, vision)
    assert np.linalg.norm(lab[1:] - lab[0], axis=1).min() > 0.1


@pytest.mark.parametrize("count", [0, 1, 20, 256, 257, 1000])
def test_all_colours_are_different_for_any_number_of_classes(count):
    colors = distinct_colors(count)
    assert len(colors) == len(set(colors)) == count
    assert colors == distinct_colors(2000)[:count]  # A class keeps its colour if others are added.


def test_colours_beside_others_are_far_from_them():
    """The default colour that comes first is near one of CamVid's, and would be taken by its order alone."""
    given = [(128, 128, 128), (0, 110, 180), *distinct_colors(40)[3:]]
    added = colors_beside(given, 3)
    assert len({*given, *added}) == len(given) + 3
    assert min(np.linalg.norm(np.subtract(one, other)) for one in added for other in given) > 30
    assert colors_beside([], 5) == distinct_colors(5)


def test_voc_colours_are_those_of_the_development_kit():
    assert voc_colors(16)[-1] == (192, 128, 128) and voc_colors(3) == [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
