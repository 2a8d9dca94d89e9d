"""Images and label maps of unusual formats, sizes and content: they are read correctly, trained on and evaluated.

Shape shorthand: H x W pixels.
"""

import json
import math

import numpy as np
import pytest
from cases import EVALUATION
from PIL import Image

from helpers.folders import block_image
from segvit.data.label_reading import read_label_map
from segvit.image_reading import read_image

RGB = block_image(1)  # (24, 32, 3)
GREY = RGB[..., 0]
GREY_AS_RGB = GREY[..., None].repeat(3, -1)
EXIF_ORIENTATION = 0x0112


def save_with_exif_rotation(path):
    """Store the image turned by 90 degrees, with the orientation that turns it back."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    Image.fromarray(np.rot90(RGB)).save(path, exif=exif)


# How an image is saved, and the RGB values that are read.
IMAGE_FORMATS = {
    "grey": (lambda path: Image.fromarray(GREY).save(path), GREY_AS_RGB),
    "grey and alpha": (lambda path: Image.fromarray(GREY).convert("LA").save(path), GREY_AS_RGB),
    "one bit": (
        lambda path: Image.fromarray(GREY > 127).save(path),
        np.where(GREY_AS_RGB > 127, 255, 0),
    ),
    "16 bits": (lambda path: Image.fromarray(GREY.astype(np.uint16) * 256 + 255).save(path), GREY_AS_RGB),
    "RGB and alpha": (lambda path: Image.fromarray(np.dstack([RGB, GREY])).save(path), RGB),
    "palette": (lambda path: Image.fromarray(RGB).quantize(256).save(path), RGB),
    "EXIF rotation": (save_with_exif_rotation, RGB),
}


@pytest.mark.parametrize("name", IMAGE_FORMATS)
def test_every_image_format_is_read_as_rgb_and_bgr(name, tmp_path):
    save, expected = IMAGE_FORMATS[name]
    save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", format="RGB")
    assert image.dtype == np.uint8
    assert np.array_equal(image, expected)
    assert np.array_equal(read_image(tmp_path / "a.png", format="BGR"), expected[..., ::-1])


def test_cmyk_is_converted_to_rgb(tmp_path):
    """No ink is white, key ink is black, and cyan with magenta is blue."""
    inks = np.zeros((8, 24, 4), np.uint8)
    inks[:, 8:16, 3] = 255
    inks[:, 16:, :2] = 255
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif", format="RGB")
    assert image[0, [0, 8, 16]].tolist() == [[255, 255, 255], [0, 0, 0], [0, 0, 255]]


IDS = np.arange(24 * 32).reshape(24, 32) % 3


def palette_image(ids):
    """Label map in the format of PASCAL VOC: palette indices are class ids, whatever the colours."""
    image = Image.fromarray(ids.astype(np.uint8))
    image.putpalette([value for color in ((9, 9, 9), (200, 0, 0), (0, 200, 0)) for value in color])
    return image


@pytest.mark.parametrize(
    ("image", "ids"),
    [
        (Image.fromarray(IDS.astype(np.uint16)), IDS),
        (palette_image(IDS), IDS),
        (Image.fromarray(IDS > 0), IDS > 0),
    ],
    ids=["16 bits", "palette", "one bit"],
)
def test_every_label_format_is_read_as_class_ids(image, ids, tmp_path):
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_label_map(tmp_path / "a.png"), ids)


def save_pair(world, split, stem, size, labels=None):
    """Replace a pair by a grey image of `size` (H, W) and its labels, by default class 1 everywhere."""
    (path,) = (world.data / "images" / split).glob(f"{stem}.*")
    path.unlink()
    Image.fromarray(np.full((*size, 3), 100, np.uint8)).save(path.with_suffix(".png"))
    labels = np.ones(size, np.uint8) if labels is None else labels
    Image.fromarray(labels).save(world.data / "annotations" / split / f"{stem}.png")


def save_ignored(world, split, stem):
    save_pair(world, split, stem, (24, 32), np.full((24, 32), 255, np.uint8))


def one_pixel_object():
    labels = np.zeros((24, 32), np.uint8)
    labels[5, 7] = 2
    return labels


# Size of the image, its labels (None: class 1 everywhere), and the number of labelled pixels.
PAIRS = {
    "one pixel": ((1, 1), None, 1),
    "17 x 4000": ((17, 4000), None, 68000),
    "4000 x 17": ((4000, 17), None, 68000),
    "object of one pixel": ((24, 32), one_pixel_object(), 768),
    "ignored everywhere": ((24, 32), np.full((24, 32), 255, np.uint8), 0),
}
LABELLED_IN_THE_OTHER_IMAGE = 23 * 32  # its first row is ignored


@pytest.mark.parametrize("name", PAIRS)
def test_unusual_pairs_are_trained_on_and_evaluated(name, world):
    """One of four training pairs and one of two validation pairs is unusual."""
    size, labels, num_labelled = PAIRS[name]
    save_pair(world, "train", "b", size, labels)
    save_pair(world, "val", "f", size, labels)
    ended = world.train()
    assert ended.code == 0, ended.stderr
    lines = [json.loads(line) for line in (world.output / "metrics.json").read_text().splitlines()]
    assert all(math.isfinite(line["total_loss"]) for line in lines if "total_loss" in line)
    result = json.loads((world.output / "sem_seg_evaluation.json").read_text())
    assert sum(map(sum, result["confusion_matrix"])) == num_labelled + LABELLED_IN_THE_OTHER_IMAGE
    assert 0 <= result["metrics"]["mIoU"] <= 100


def test_a_batch_without_labels_is_trained_on(world):
    for stem in "abcd":
        save_ignored(world, "train", stem)
    ended = world.train()
    assert ended.code == 0, ended.stderr


def test_metrics_of_a_dataset_without_labels_are_nan_with_a_warning(world):
    for stem in "ef":
        save_ignored(world, "val", stem)
    world.save_checkpoint()
    ended = world.train(*EVALUATION)
    assert ended.code == 0, ended.stderr
    assert "folder_val has no labelled pixel" in ended.stdout + (world.output / "log.txt").read_text()
    assert json.loads((world.output / "sem_seg_evaluation.json").read_text())["metrics"]["mIoU"] is None


def test_the_doctor_reports_no_error_for_unusual_pairs(world):
    for stem, (size, labels, _) in zip("abcd", PAIRS.values(), strict=False):
        save_pair(world, "train", stem, size, labels)
    ended = world.run("check_dataset", "HOME/data", "--output", "HOME/output")
    assert ended.code == 0, ended.stdout
    assert "errors: 0" in ended.stdout or "nothing found" in ended.stdout
