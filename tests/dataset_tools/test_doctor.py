"""The dataset doctor finds each planted fault, that one alone, and nothing in sound data."""

import os
import shutil

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from helpers.folders import CLASSES, COLORS, HEIGHT, WIDTH, picture, write_folder
from segvit.dataset_tools.doctor import as_json, check_dataset, describe, open_dataset
from segvit.dataset_tools.doctor.inspection import count_ids
from segvit.datasets import register_sem_seg_split

CAMVID = os.environ.get("SEGVIT_CAMVID")


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "mine")


def diagnose(target, **options):
    return check_dataset(open_dataset(str(target), **options), workers=2, progress=False)


def kinds(report):
    return [(finding.kind, finding.severity) for finding in report.findings]


def edit(path, change):
    """Replace a label map (H, W) by what `change` makes of it."""
    with Image.open(path) as image:
        labels = np.array(image)
    Image.fromarray(change(labels)).save(path)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-40])


def label_maps(folder):
    return sorted(folder.glob("annotations/*/*.png"))


def test_nothing_is_found_in_sound_data(folder):
    report = diagnose(folder)
    assert report.findings == () and not report.has_errors
    assert "nothing found" in describe(report)


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


def call_the_background_zero(folder):
    for path in label_maps(folder):
        edit(path, lambda labels: np.where(labels == 255, 0, labels + 1).astype(np.uint8))


def crop_a_label_map(folder):
    edit(folder / "annotations/train/b.png", lambda labels: labels[:-4])


def turn_a_label_map(folder):
    edit(folder / "annotations/val/f.png", lambda labels: np.ascontiguousarray(labels.T))


def lose_a_label_map(folder):
    (folder / "annotations/train/b.png").unlink()


def lose_an_image(folder):
    (folder / "images/train/b.jpg").unlink()


def cut_off_an_image(folder):
    cut_off(folder / "images/val/f.png")


def write_text_for_a_label_map(folder):
    (folder / "annotations/val/f.png").write_text("no picture")


def show_a_training_image_in_validation(folder):
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


def never_use_a_class(folder):
    for path in sorted(folder.glob("annotations/val/*.png")):
        edit(path, lambda labels: np.where(labels == 1, 0, labels).astype(np.uint8))


def never_use_the_last_class(folder):
    for path in sorted(folder.glob("annotations/val/*.png")):
        edit(path, lambda labels: np.where(labels == 2, 0, labels).astype(np.uint8))


def save_a_label_map_as_jpeg(folder):
    path = folder / "annotations/train/b.png"
    with Image.open(path) as image:
        image.save(path.with_suffix(".jpg"))
    path.unlink()


def give_two_images_one_stem(folder):
    Image.fromarray(picture(99)).save(folder / "images/train/b.png")


def repeat_an_image(folder):
    for kind, suffix in (("images", "bmp"), ("annotations", "png")):
        shutil.copy(folder / kind / "train" / f"c.{suffix}", folder / kind / "train" / f"z.{suffix}")


def lose_a_split(folder):
    shutil.rmtree(folder / "images/val")


def empty_a_split(folder):
    for path in [*folder.glob("images/val/*"), *folder.glob("annotations/val/*")]:
        path.unlink()


# Fault -> its finding, and a part of what is said about it.
ERRORS = {
    color_a_label_map: ("colored_label_map", "b.png: 3 channels"),
    use_an_id_out_of_range: ("ids_out_of_range", "b.png: ids 200"),
    shift_all_ids: ("shifted_ids", "ids run from 1 to 3"),
    call_the_background_zero: ("shifted_ids", "ids run from 0 to 3"),
    crop_a_label_map: ("sizes", f"b.png: {WIDTH} x {HEIGHT - 4}, its image {WIDTH} x {HEIGHT}"),
    turn_a_label_map: ("sizes", "rotated by 90 degrees"),
    lose_a_label_map: ("image_without_label_map", "b.jpg"),
    lose_an_image: ("label_map_without_image", "b.png"),
    cut_off_an_image: ("unreadable_image", "f.png: "),
    write_text_for_a_label_map: ("unreadable_label_map", "f.png: "),
    show_a_training_image_in_validation: ("duplicates", "a.tif = "),
    use_255_as_foreground: ("ignored_foreground", "if it marks the foreground"),
    save_a_label_map_as_jpeg: ("label_map_format", "b.jpg"),
    give_two_images_one_stem: ("same_stem", "b.png"),
    lose_a_split: ("missing_folder", "images/val"),
    empty_a_split: ("empty", "no pair"),
}
WARNINGS = {
    save_a_training_image_again: ("near_duplicates", "e.JPEG"),
    ignore_a_whole_label_map: ("unlabelled", "b.png"),
    ignore_most_pixels: ("mostly_ignored", "67 % of the pixels"),
    never_use_a_class: ("absent_classes", "1 road"),
    never_use_the_last_class: ("absent_classes", "are all ids too small by one"),
    repeat_an_image: ("repeated_image", "c.bmp = "),
}


@pytest.mark.parametrize("plant", [*ERRORS, *WARNINGS], ids=lambda plant: plant.__name__)
def test_each_planted_fault_is_found_and_no_other(folder, plant):
    plant(folder)
    kind, text = (ERRORS | WARNINGS)[plant]
    severity = "error" if plant in ERRORS else "warning"
    report = diagnose(folder)
    assert kinds(report) == [(kind, severity)]
    assert report.has_errors is (plant in ERRORS)
    assert text in describe(report)
    (reported,) = as_json(report)["findings"]
    assert reported["kind"] == kind and all(isinstance(file, str) for file in reported["files"])


def test_all_faults_of_single_files_at_once(tmp_path):
    """Ten faults in one folder of sixteen pairs do not hide each other."""
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
    found = {(kind, finding.split) for finding in diagnose(folder).findings for kind in (finding.kind,)}
    assert found == {
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
    for kind, pixels in (("images", picture(seed)), ("annotations", labels)):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / kind / split / f"{stem}.png")


def test_the_void_of_a_few_files_is_no_shift(folder):
    """The ignore value is in use, so that id 3 in one label map is a mistake there."""
    edit(folder / "annotations/train/b.png", lambda labels: np.where(labels == 0, 3, labels).astype(np.uint8))
    report = diagnose(folder)
    assert kinds(report) == [("ids_out_of_range", "error")]
    assert "is 0 a background that the list lacks, or 3 void?" in describe(report)


def test_palette_and_sixteen_bit_label_maps_are_sound(folder):
    path = folder / "annotations/train/b.png"
    with Image.open(path) as image:
        labels = np.array(image)
    indexed = Image.fromarray(labels, mode="P")
    indexed.putpalette([channel for color in COLORS for channel in color] + [0] * 3 * 253)
    indexed.save(path)
    Image.fromarray(labels.astype(np.uint16)).save(folder / "annotations/train/a.png")
    assert diagnose(folder).findings == ()


def test_images_are_turned_upright_before_sizes_are_compared(folder):
    sideways = Image.fromarray(np.ascontiguousarray(picture(5).transpose(1, 0, 2)))
    exif = sideways.getexif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    sideways.save(folder / "images/train/b.jpg", exif=exif)
    assert diagnose(folder).findings == ()


def test_dark_images_are_not_taken_for_each_other(folder):
    for path in (folder / "images/train/c.bmp", folder / "images/val/f.png"):
        dark = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        dark[0, ord(path.stem) % 30] = 9
        Image.fromarray(dark).save(path)
    assert diagnose(folder).findings == ()


def test_another_ignore_value(folder):
    report = diagnose(folder, ignore_value=254)
    assert {kind for kind, _ in kinds(report)} == {"ids_out_of_range"}
    assert "is 0 a background" not in describe(report)


def test_an_ignore_value_that_is_a_class_is_refused_as_in_training(folder):
    with pytest.raises(ValueError, match=r"ignore value 2 is also the id of class .*--ignore-value"):
        open_dataset(str(folder), ignore_value=2)


def test_counts_are_exact(folder):
    counts = diagnose(folder).counts["train"]
    expected = np.zeros(256, dtype=int)
    for path in sorted(folder.glob("annotations/train/*.png")):
        with Image.open(path) as image:
            expected += np.bincount(np.array(image).ravel(), minlength=256)
    assert counts.pixels.tolist() == expected[:3].tolist() and counts.images.tolist() == [4, 4, 4]
    assert counts.ignored == expected[255] and counts.total == expected.sum()
    assert counts.ignored_fraction == pytest.approx(1 / HEIGHT)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, bool])
def test_ids_are_counted_in_any_type(dtype):
    assert count_ids(np.array([[0, 1, 1], [1, 0, 1]], dtype)) == {0: 2, 1: 4}


def test_a_frame_that_moved_on_is_no_duplicate(folder):
    with Image.open(folder / "images/train/a.tif") as image:
        Image.fromarray(np.roll(np.array(image), 1, axis=1)).save(folder / "images/val/f.png")
    assert diagnose(folder).findings == ()


def test_registered_data_sets_by_name_and_by_what_names_begin_with(folder):
    names = [f"test_doctor_{split}" for split in ("train", "val", "gone")]
    try:
        for name in names:
            register_sem_seg_split(
                name, folder=folder, split=name.rpartition("_")[2], stuff_classes=CLASSES, stuff_colors=COLORS
            )
        assert [split.name for split in open_dataset("test_doctor").splits] == names[:2]
        assert diagnose("test_doctor_val").findings == ()
        assert kinds(diagnose("test_doctor_gone")) == [("missing_folder", "error")]
    finally:
        for name in names:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def test_a_data_set_of_detectron2_without_colours(folder, monkeypatch):
    meta = MetadataCatalog.get("ade20k_sem_seg_val")
    for key, kind in (("image_root", "images"), ("sem_seg_root", "annotations")):
        monkeypatch.setitem(meta.__dict__, key, str(folder / kind / "val"))
    report = diagnose("ade20k_sem_seg_val")
    assert len(report.dataset.classes.names) == len(set(report.dataset.classes.colors)) == 150
    assert kinds(report) == [("absent_classes", "warning")]


def test_a_further_split_need_not_be_labelled(folder):
    shutil.copytree(folder / "images" / "val", folder / "images" / "test")
    assert kinds(diagnose(folder)) == [("missing_folder", "warning")]
    shutil.rmtree(folder / "annotations" / "val")
    assert ("missing_folder", "error") in kinds(diagnose(folder))


def test_unknown_targets_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'nowhere' is neither a folder .*camvid_sem_seg_train"):
        open_dataset("nowhere")
    with pytest.raises(ValueError, match=r"no classes\.txt"):
        open_dataset(str(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(not CAMVID, reason="set SEGVIT_CAMVID to the folder of CamVid to examine it")
def test_clean_camvid(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", os.path.dirname(os.path.abspath(CAMVID)))
    report = diagnose("camvid_sem_seg")
    assert [len(items) for items in report.inspections.values()] == [367, 101]
    assert report.findings == ()
