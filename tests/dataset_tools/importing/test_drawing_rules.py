"""Rules of drawing: overlap, holes, crowds, borders, EXIF rotation, unlabelled pixels, damaged objects."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers.repository import PROJECT
from helpers.scripts import load_script

TOOL = load_script(PROJECT / "tools" / "import_dataset.py")
HEIGHT, WIDTH = 12, 16


def square(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def annotation(number, category, *polygons, **further):
    return {"id": number, "image_id": 1, "category_id": category, "segmentation": list(polygons), **further}


def categories(*names):
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]


@pytest.fixture
def imported(tmp_path, capsys):
    """Import one image with these annotations -> label map, class names, lines of skipped.txt."""

    def run(annotations, *options, names=("car", "person"), image=None, size=(HEIGHT, WIDTH)):
        image = image or Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        (tmp_path / "coco").mkdir()
        image.save(tmp_path / "coco" / "a.png", exif=image.getexif())
        record = {"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}
        content = {"images": [record], "annotations": annotations, "categories": categories(*names)}
        (tmp_path / "coco" / "instances.json").write_text(json.dumps(content))
        new = tmp_path / "new"
        assert TOOL.main([str(tmp_path / "coco"), str(new), "--workers", "1", *options]) == 0
        with Image.open(new / "annotations" / "train" / "a.png") as labels:
            found = np.array(labels)
        skipped = new / "skipped.txt"
        classes = [it["name"] for it in json.loads((new / "classes.json").read_text())]
        return found, classes, skipped.read_text().splitlines() if skipped.is_file() else []

    return run


LARGE, SMALL = square(0, 0, 10, 10), square(2, 2, 5, 5)


@pytest.mark.parametrize(("options", "inner"), [((), 1), (("--overlap", "smaller"), 2)])
def test_the_object_drawn_last_wins_or_the_smaller_one(imported, options, inner):
    labels, classes, _ = imported([annotation(1, 2, SMALL), annotation(2, 1, LARGE)], *options)
    assert classes == ["background", "car", "person"]
    assert (labels[2:5, 2:5] == inner).all() and labels[0, 0] == 1 and labels[11, 15] == 0


@pytest.mark.parametrize(("options", "inner"), [((), 1), (("--holes",), 0)])
def test_a_polygon_within_a_polygon_of_the_object_is_filled_or_a_hole(imported, options, inner):
    labels, _, _ = imported([annotation(1, 1, LARGE, SMALL)], *options)
    assert (labels[2:5, 2:5] == inner).all() and (labels == 1).sum() == (100 if inner else 91)


@pytest.mark.parametrize(("options", "expected"), [((), 1), (("--crowd", "ignored"), 255)])
def test_crowds_are_their_class_or_ignored(imported, options, expected):
    labels, _, _ = imported([annotation(1, 1, LARGE, iscrowd=1)], *options)
    assert labels[0, 0] == expected


def test_polygons_are_cut_at_the_border(imported):
    labels, _, skipped = imported([annotation(1, 1, square(-20, -20, 3, 40)), annotation(2, 2, square(14, 5, 90, 6))])
    assert (labels[:, :3] == 1).all() and (labels[5, 14:] == 2).all() and (labels > 0).sum() == 3 * HEIGHT + 2
    assert skipped == []


def test_unlabelled_pixels_can_be_ignored(imported):
    labels, classes, _ = imported([annotation(1, 1, LARGE)], "--unlabelled", "ignored")
    assert classes == ["car", "person"] and labels[0, 0] == 0 and labels[11, 15] == 255


def test_a_background_that_no_pixel_needs_is_not_added(imported):
    labels, classes, _ = imported([annotation(1, 2, square(0, 0, WIDTH, HEIGHT))])
    assert classes == ["car", "person"] and (labels == 1).all()


def test_classes_without_a_pixel_stay_or_are_left_out(imported):
    labels, classes, _ = imported([annotation(1, 2, LARGE)], "--drop-unused")
    assert classes == ["background", "person"] and labels[0, 0] == 1


def test_classes_of_one_name_are_one_and_void_is_ignored(imported):
    given = [annotation(1, 1, square(0, 0, 2, 2)), annotation(2, 2, square(4, 0, 6, 2)), annotation(3, 3, SMALL)]
    labels, classes, _ = imported(given, names=("car", "car", "Void"))
    assert classes == ["background", "car"]
    assert labels[0, 0] == labels[0, 4] == 1 and labels[3, 3] == 255


def test_a_name_to_ignore_that_no_class_has_is_noted(imported, capsys):
    given = [annotation(1, 1, LARGE), annotation(2, 2, square(12, 0, 14, 2))]
    labels, classes, _ = imported(given, "--ignored", "void", "PERSON", "persn")
    assert classes == ["background", "car"] and labels[0, 12] == 255
    notes = [line for line in capsys.readouterr().out.splitlines() if "--ignored '" in line]
    assert len(notes) == 1 and "'persn'" in notes[0] and "car, person" in notes[0]


def test_given_classes_set_the_order_and_leave_out_others(imported):
    given = [annotation(1, 1, LARGE), annotation(2, 2, square(12, 0, 14, 2))]
    labels, classes, skipped = imported(given, "--classes", "background,person")
    assert classes == ["background", "person"] and labels[0, 0] == 0 and labels[0, 12] == 1
    assert len(skipped) == 1 and "annotation 1" in skipped[0] and "'car'" in skipped[0]


def test_what_cannot_be_drawn_is_listed_and_the_rest_imported(imported):
    labels, _, skipped = imported(
        [
            annotation(1, 1, LARGE),
            annotation(2, 1, [0, 0, 1, 1]),
            {**annotation(3, 1), "segmentation": {"size": [HEIGHT, WIDTH], "counts": [3]}},
            annotation(4, 9, LARGE),
            annotation(5, 1, square(0, 0, 1e9, 2)),
            {**annotation(6, 1), "segmentation": None, "bbox": [12, 0, 2, 2]},
        ],
    )
    assert (labels == 1).sum() == 100
    assert sorted(next(n for n in "23456" if f"annotation {n}" in line) for line in skipped) == list("23456")


def test_boxes_are_filled_if_asked_for(imported):
    labels, _, _ = imported([{**annotation(1, 1), "segmentation": [], "bbox": [12, 0, 2, 3]}], "--boxes", "fill")
    assert (labels[:3, 12:14] == 1).all() and (labels == 1).sum() == 6


@pytest.mark.parametrize("upright", [True, False])
def test_labels_of_either_orientation_fit_the_upright_image(imported, upright):
    """An image that is stored turned: its upright size is 12 x 16, stored 16 x 12."""
    stored = Image.fromarray(np.random.default_rng(0).integers(0, 255, (WIDTH, HEIGHT, 3), dtype=np.uint8))
    stored.getexif()[0x0112] = 6  # turn by 90 degrees clockwise
    size = (HEIGHT, WIDTH) if upright else (WIDTH, HEIGHT)
    labels, _, _ = imported([annotation(1, 1, square(0, 0, 2, 3))], image=stored, size=size)
    assert labels.shape == (HEIGHT, WIDTH)
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    if upright:
        expected[:3, :2] = True
    else:
        expected[:2, WIDTH - 3 :] = True
    assert ((labels == 1) == expected).all()
