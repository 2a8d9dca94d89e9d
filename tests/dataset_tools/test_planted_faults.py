"""The doctor finds each fault planted in a sound dataset, and reports nothing else."""

import shutil

import numpy as np
import pytest
from PIL import Image

from helpers.doctor import diagnose, kinds
from helpers.folders import CLASSES, COLORS, HEIGHT, WIDTH, block_image, edit, write_folder
from segvit.dataset_tools.doctor import as_json, describe


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "mine")


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-40])


def label_maps(folder):
    return sorted(folder.glob("annotations/*/*.png"))


def color_a_label_map(folder):
    edit(
        folder / "annotations/train/b.png",
        lambda labels: np.array([*COLORS, (0, 0, 0)], np.uint8)[np.minimum(labels, 3)],
    )


def use_an_id_out_of_range(folder):
    edit(folder / "annotations/train/b.png", lambda labels: np.where(labels == 2, 200, labels).astype(np.uint8))


def shift_all_ids(folder):
    for path in label_maps(folder):
        edit(path, lambda labels: np.where(labels == 255, 255, labels + 1).astype(np.uint8))


def shift_all_ids_and_use_0_as_background(folder):
    for path in label_maps(folder):
        edit(path, lambda labels: np.where(labels == 255, 0, labels + 1).astype(np.uint8))


def crop_a_label_map(folder):
    edit(folder / "annotations/train/b.png", lambda labels: labels[:-4])


def rotate_a_label_map(folder):
    edit(folder / "annotations/val/f.png", lambda labels: np.ascontiguousarray(labels.T))


def delete_a_label_map(folder):
    (folder / "annotations/train/b.png").unlink()


def delete_an_image(folder):
    (folder / "images/train/b.jpg").unlink()


def cut_off_an_image(folder):
    cut_off(folder / "images/val/f.png")


def replace_a_label_map_by_text(folder):
    (folder / "annotations/val/f.png").write_text("not an image")


def copy_a_training_image_to_validation(folder):
    with Image.open(folder / "images/train/a.tif") as image:
        image.save(folder / "images/val/f.png")


def save_a_training_image_again(folder):
    with Image.open(folder / "images/train/a.tif") as image:
        image.save(folder / "images/val/e.JPEG", quality=95, subsampling=0)


def ignore_a_whole_label_map(folder):
    edit(folder / "annotations/train/b.png", lambda labels: np.full_like(labels, 255))


def ignore_most_pixels(folder):
    for path in sorted(folder.glob("annotations/train/*.png")):
        edit(path, lambda labels: np.where(np.arange(HEIGHT)[:, None] < HEIGHT - 8, 255, labels).astype(np.uint8))


def use_255_as_foreground(folder):
    for path in label_maps(folder):
        edit(path, lambda labels: np.where(labels == 1, 255, 0).astype(np.uint8))


def remove_a_class(folder):
    for path in sorted(folder.glob("annotations/val/*.png")):
        edit(path, lambda labels: np.where(labels == 1, 0, labels).astype(np.uint8))


def remove_the_last_class(folder):
    for path in sorted(folder.glob("annotations/val/*.png")):
        edit(path, lambda labels: np.where(labels == 2, 0, labels).astype(np.uint8))


def save_a_label_map_as_jpeg(folder):
    path = folder / "annotations/train/b.png"
    with Image.open(path) as image:
        image.save(path.with_suffix(".jpg"))
    path.unlink()


def give_two_images_one_stem(folder):
    Image.fromarray(block_image(99)).save(folder / "images/train/b.png")


def repeat_an_image(folder):
    for kind, suffix in (("images", "bmp"), ("annotations", "png")):
        shutil.copy(folder / kind / "train" / f"c.{suffix}", folder / kind / "train" / f"z.{suffix}")


def delete_a_split(folder):
    shutil.rmtree(folder / "images/val")


def empty_a_split(folder):
    for path in [*folder.glob("images/val/*"), *folder.glob("annotations/val/*")]:
        path.unlink()


def save_an_image_with_pages(folder):
    pages = [Image.fromarray(block_image(index)) for index in (98, 99)]
    pages[0].save(folder / "images/train/a.tif", save_all=True, append_images=pages[1:])


# Fault -> the kind of its finding, and a part of the report.
ERRORS = {
    color_a_label_map: ("colored_label_map", "b.png: 3 channels"),
    use_an_id_out_of_range: ("ids_out_of_range", "b.png: ids 200"),
    shift_all_ids: ("shifted_ids", "ids run from 1 to 3"),
    shift_all_ids_and_use_0_as_background: ("shifted_ids", "ids run from 0 to 3"),
    crop_a_label_map: ("sizes", f"b.png: {WIDTH} x {HEIGHT - 4}, its image {WIDTH} x {HEIGHT}"),
    rotate_a_label_map: ("sizes", "rotated by 90 degrees"),
    delete_a_label_map: ("image_without_label_map", "b.jpg"),
    delete_an_image: ("label_map_without_image", "b.png"),
    cut_off_an_image: ("unreadable_image", "f.png: "),
    replace_a_label_map_by_text: ("unreadable_label_map", "f.png: "),
    copy_a_training_image_to_validation: ("duplicates", "a.tif = "),
    use_255_as_foreground: ("ignored_foreground", "if it marks the foreground"),
    save_a_label_map_as_jpeg: ("label_map_format", "b.jpg"),
    give_two_images_one_stem: ("same_stem", "b.png"),
    delete_a_split: ("missing_folder", "images/val"),
    empty_a_split: ("empty", "no pair"),
}
WARNINGS = {
    save_an_image_with_pages: ("several_pages", "a.tif: 2 images"),
    save_a_training_image_again: ("near_duplicates", "e.JPEG"),
    ignore_a_whole_label_map: ("unlabelled", "b.png"),
    ignore_most_pixels: ("mostly_ignored", "67 % of the pixels"),
    remove_a_class: ("absent_classes", "1 road"),
    remove_the_last_class: ("absent_classes", "are all ids too small by one"),
    repeat_an_image: ("repeated_image", "c.bmp = "),
}


@pytest.mark.parametrize("plant", [*ERRORS, *WARNINGS], ids=lambda plant: plant.__name__)
def test_each_planted_fault_is_the_only_finding(folder, plant):
    plant(folder)
    kind, text = (ERRORS | WARNINGS)[plant]
    severity = "error" if plant in ERRORS else "warning"
    report = diagnose(folder)
    assert kinds(report) == [(kind, severity)]
    assert report.has_errors is (plant in ERRORS)
    assert text in describe(report)
    (reported,) = as_json(report)["findings"]
    assert reported["kind"] == kind and all(isinstance(file, str) for file in reported["files"])


def test_faults_of_single_files_do_not_hide_each_other(tmp_path):
    """Ten faults in one folder of sixteen pairs."""
    folder = tmp_path / "many"
    for split, count in (("train", 12), ("val", 4)):
        for index in range(count):
            write_pair(folder, split, f"{split}{index:02d}", seed=100 + index + 50 * (split == "val"))
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    train, val = folder / "annotations" / "train", folder / "annotations" / "val"
    edit(train / "train00.png", lambda labels: np.stack([labels] * 3, axis=-1))
    edit(train / "train01.png", lambda labels: np.where(labels == 0, 77, labels).astype(np.uint8))
    edit(train / "train02.png", lambda labels: labels[:, 4:])
    edit(train / "train03.png", lambda labels: np.full_like(labels, 255))
    (train / "train04.png").unlink()
    (folder / "images/train/train05.png").unlink()
    cut_off(folder / "images/train/train06.png")
    cut_off(train / "train07.png")
    shutil.copy(folder / "images/train/train08.png", folder / "images/val/val00.png")
    edit(val / "val01.png", lambda labels: np.where(labels == 0, 3, labels).astype(np.uint8))
    findings = {(finding.kind, finding.split) for finding in diagnose(folder).findings}
    assert findings == {
        ("colored_label_map", "train"),
        ("ids_out_of_range", "train"),
        ("ids_out_of_range", "val"),
        ("sizes", "train"),
        ("unlabelled", "train"),
        ("image_without_label_map", "train"),
        ("label_map_without_image", "train"),
        ("unreadable_image", "train"),
        ("unreadable_label_map", "train"),
        ("duplicates", "train and val"),
    }


def write_pair(folder, split, stem, seed):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, (HEIGHT // 4, WIDTH // 4), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    labels[0] = 255
    for kind, pixels in (("images", block_image(seed)), ("annotations", labels)):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / kind / split / f"{stem}.png")
