"""`write_label_png`: ids and palette of written label maps, and no other function writes them."""

import ast

import numpy as np
import pytest
from PIL import Image

from helpers.repository import ROOT
from segvit.classes.palette import distinct_colors
from segvit.data.label_reading import read_label_map
from segvit.errors import UserError
from segvit.label_png import write_label_png

COLORS = distinct_colors(5)


@pytest.mark.parametrize("num_classes", [1, 3, 20, 255, 256])
def test_up_to_256_classes_have_a_palette(tmp_path, num_classes):
    colors = distinct_colors(num_classes)
    labels = np.array([[0, num_classes - 1, 255]])
    write_label_png(tmp_path / "a.png", labels, colors)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P" and np.array_equal(image, labels)
        shown = np.asarray(image.convert("RGB"))[0]
    assert np.array_equal(shown[:2], [colors[0], colors[-1]])
    assert np.array_equal(read_label_map(tmp_path / "a.png"), labels)


@pytest.mark.parametrize("num_classes, highest", [(300, 299), (300, 4), (5, 300)])
def test_ids_above_255_are_kept(tmp_path, num_classes, highest):
    labels = np.array([[0, highest]])
    write_label_png(tmp_path / "a.png", labels, distinct_colors(num_classes))
    assert np.array_equal(read_label_map(tmp_path / "a.png"), labels)


@pytest.mark.parametrize("colors", [COLORS, [(0, 0, 0), (9, 9, 9)], [(0, 0, 0), (224, 224, 192)]])
def test_ignored_pixels_have_the_colour_of_no_class(tmp_path, colors):
    write_label_png(tmp_path / "a.png", np.array([[0, 1, 255]]), colors)
    with Image.open(tmp_path / "a.png") as image:
        shown = [tuple(color) for color in np.asarray(image.convert("RGB"))[0].tolist()]
    assert shown[:2] == [tuple(color) for color in colors[:2]] and shown[2] not in colors


@pytest.mark.parametrize("wrong", [-1, 2**16])
def test_ids_outside_16_bits_are_refused(tmp_path, wrong):
    with pytest.raises(UserError, match=r"a\.png"):
        write_label_png(tmp_path / "a.png", np.array([[0, wrong]]), COLORS)
    assert not (tmp_path / "a.png").exists()


def test_no_other_code_writes_single_channel_images():
    """Files that save a Pillow image or call cv2.imwrite: each writes colours, or is `label_png.py`."""
    writers = set()
    for path in (ROOT / "projects").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name, owner = node.func.attr, ast.unparse(node.func.value)
                if name == "imwrite" or (name == "save" and ("Image" in owner or owner == "image")):
                    writers.add(path.name)
    colors = {"prediction_writer.py", "results.py", "writer.py"}  # RGB images beside label maps
    encoders = {"hugging_face.py"}  # a PNG in memory, for the reader of label maps
    assert writers - colors - encoders == {"label_png.py"}
