"""Pictures and labels that are odd, and no error: what is read, and that a run on them is sound.

Shape shorthand: H x W pixels.
"""

import json
import math

import numpy as np
import pytest
from cases import EVALUATION
from PIL import Image

from helpers.folders import block_image
from segvit.data.image_reading import read_image
from segvit.data.label_reading import read_label_map

COLORS = block_image(1)  # (24, 32, 3)
GREY = COLORS[..., 0]
TURNED = 0x0112  # EXIF's note of how a picture is to be shown


def save_palette(path):
    Image.fromarray(COLORS).quantize(256).save(path)


def save_exif(path):
    exif = Image.Exif()
    exif[TURNED] = 6
    Image.fromarray(np.rot90(COLORS)).save(path, exif=exif)  # as the camera saw it, a quarter turn to the left


# How a picture is saved, and what is read of it.
PICTURES = {
    "grey": (lambda path: Image.fromarray(GREY).save(path), GREY[..., None].repeat(3, -1)),
    "grey and alpha": (lambda path: Image.fromarray(GREY).convert("LA").save(path), GREY[..., None].repeat(3, -1)),
    "black and white": (
        lambda path: Image.fromarray(GREY > 127).save(path),
        np.where(GREY > 127, 255, 0)[..., None].repeat(3, -1),
    ),
    "16 bits": (
        lambda path: Image.fromarray(GREY.astype(np.uint16) * 256 + 255).save(path),
        GREY[..., None].repeat(3, -1),
    ),
    "alpha": (lambda path: Image.fromarray(np.dstack([COLORS, GREY])).save(path), COLORS),
    "palette": (save_palette, COLORS),
    "turned by EXIF": (save_exif, COLORS),
}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_read_of_a_picture(name, tmp_path):
    save, expected = PICTURES[name]
    save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", format="RGB")
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)
    assert np.array_equal(read_image(tmp_path / "a.png", format="BGR"), expected[..., ::-1])


def test_cmyk_becomes_its_colours(tmp_path):
    """Two inks in equal parts, and black: no ink at all is white."""
    inks = np.zeros((8, 24, 4), np.uint8)
    inks[:, 8:16, 3] = 255
    inks[:, 16:, :2] = 255
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "a.tif")
    found = read_image(tmp_path / "a.tif", format="RGB")
    assert found[0, [0, 8, 16]].tolist() == [[255, 255, 255], [0, 0, 0], [0, 0, 255]]


IDS = np.arange(24 * 32).reshape(24, 32) % 3


@pytest.mark.parametrize("kind", ["16 bits", "palette", "black and white"])
def test_what_is_read_of_a_label_map(kind, tmp_path):
    expected = IDS
    if kind == "16 bits":
        image = Image.fromarray(IDS.astype(np.uint16))
    elif kind == "palette":  # PASCAL VOC's form: the ids are the indices, whatever the colours
        image = Image.fromarray(IDS.astype(np.uint8))
        image.putpalette([value for color in ((9, 9, 9), (200, 0, 0), (0, 200, 0)) for value in color])
    else:
        expected = IDS > 0
        image = Image.fromarray(expected)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_label_map(tmp_path / "a.png"), expected)


def save_pair(world, split, stem, size, labels=None):
    """A picture of `size` (H, W), under any name that is there, with labels of one class, or those given."""
    (path,) = (world.data / "images" / split).glob(f"{stem}.*")
    path.unlink()
    Image.fromarray(np.full((*size, 3), 100, np.uint8)).save(path.with_suffix(".png"))
    labels = np.ones(size, np.uint8) if labels is None else labels
    Image.fromarray(labels).save(world.data / "annotations" / split / f"{stem}.png")


def one_pixel(world, split, stem):
    labels = np.zeros((24, 32), np.uint8)
    labels[5, 7] = 2
    save_pair(world, split, stem, (24, 32), labels)


def all_ignored(world, split, stem):
    save_pair(world, split, stem, (24, 32), np.full((24, 32), 255, np.uint8))


ODD = {
    "one pixel": lambda world, split, stem: save_pair(world, split, stem, (1, 1)),
    "17 x 4000": lambda world, split, stem: save_pair(world, split, stem, (17, 4000)),
    "4000 x 17": lambda world, split, stem: save_pair(world, split, stem, (4000, 17)),
    "an object of one pixel": one_pixel,
    "ignored throughout": all_ignored,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_pairs_are_trained_on_and_evaluated(name, world):
    """Each in a batch with common ones, and among the two validation images."""
    ODD[name](world, "train", "b")
    ODD[name](world, "val", "f")
    ended = world.train("SOLVER.WARMUP_ITERS", "0")
    assert ended.code == 0, ended.stderr
    lines = [json.loads(line) for line in (world.output / "metrics.json").read_text().splitlines()]
    assert all(math.isfinite(line["total_loss"]) for line in lines if "total_loss" in line)
    result = json.loads((world.output / "sem_seg_evaluation.json").read_text())
    counted = sum(map(sum, result["confusion_matrix"]))
    pixels = {"one pixel": 1, "17 x 4000": 68000, "4000 x 17": 68000, "an object of one pixel": 768}.get(name, 0)
    assert counted == pixels + 23 * 32  # the other image has a row that is ignored
    assert 0 <= result["metrics"]["mIoU"] <= 100


def test_a_batch_without_any_label_trains(world):
    for stem in "abcd":
        all_ignored(world, "train", stem)
    ended = world.train()
    assert ended.code == 0, ended.stderr


def test_nothing_labelled_to_evaluate(world):
    for stem in "ef":
        all_ignored(world, "val", stem)
    world.save_checkpoint()
    ended = world.train(*EVALUATION)
    assert ended.code == 0, ended.stderr
    assert (
        "folder_val has no labelled pixel: all metrics are NaN" in ended.stdout + (world.output / "log.txt").read_text()
    )
    assert json.loads((world.output / "sem_seg_evaluation.json").read_text())["metrics"]["mIoU"] is None


def test_odd_pairs_pass_the_doctor(world):
    for stem, name in zip("abcd", ODD, strict=False):
        ODD[name](world, "train", stem)
    ended = world.run("check_dataset", "HOME/data", "--output", "HOME/output")
    assert ended.code == 0, ended.stdout
    assert "errors: 0" in ended.stdout or "nothing found" in ended.stdout
