"""The doctor on sound datasets: their formats, class counts, registered datasets, and what it does not report."""

import os
import shutil

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from helpers.doctor import diagnose, kinds
from helpers.folders import CLASSES, COLORS, HEIGHT, WIDTH, block_image, edit, write_folder
from segvit.dataset_tools.doctor import describe, open_dataset
from segvit.datasets import register_sem_seg_split

CAMVID = os.environ.get("SEGVIT_CAMVID")


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "mine")


def test_a_sound_folder_has_no_findings(folder):
    report = diagnose(folder)
    assert report.findings == () and not report.has_errors
    assert "nothing found" in describe(report)


def test_void_in_few_files_is_not_reported_as_shifted_ids(folder):
    """The ignore value occurs, so id 3 in one label map is wrong in that file alone."""
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


def test_sizes_are_compared_after_exif_rotation(folder):
    rotated = Image.fromarray(np.ascontiguousarray(block_image(5).transpose(1, 0, 2)))
    exif = rotated.getexif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    rotated.save(folder / "images/train/b.jpg", exif=exif)
    assert diagnose(folder).findings == ()


def test_dark_images_are_not_duplicates(folder):
    for path in (folder / "images/train/c.bmp", folder / "images/val/f.png"):
        dark = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        dark[0, ord(path.stem) % 30] = 9
        Image.fromarray(dark).save(path)
    assert diagnose(folder).findings == ()


def test_the_ignore_value_can_be_chosen(folder):
    report = diagnose(folder, ignore_value=254)
    assert {kind for kind, _ in kinds(report)} == {"ids_out_of_range"}
    assert "is 0 a background" not in describe(report)


def test_an_ignore_value_that_is_a_class_is_refused(folder):
    with pytest.raises(ValueError, match=r"ignore value 2 .*--ignore-value"):
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


def test_a_shifted_video_frame_is_not_a_duplicate(folder):
    with Image.open(folder / "images/train/a.tif") as image:
        Image.fromarray(np.roll(np.array(image), 1, axis=1)).save(folder / "images/val/f.png")
    assert diagnose(folder).findings == ()


def test_registered_datasets_are_found_by_name_and_by_prefix(folder):
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


def test_a_detectron2_dataset_without_colours_is_checked(folder, monkeypatch):
    meta = MetadataCatalog.get("ade20k_sem_seg_val")
    for key, kind in (("image_root", "images"), ("sem_seg_root", "annotations")):
        monkeypatch.setitem(meta.__dict__, key, str(folder / kind / "val"))
    report = diagnose("ade20k_sem_seg_val")
    assert len(report.dataset.classes.names) == len(set(report.dataset.classes.colors)) == 150
    assert kinds(report) == [("absent_classes", "warning")]


def test_other_splits_may_lack_label_maps(folder):
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
@pytest.mark.skipif(not CAMVID, reason="set SEGVIT_CAMVID to the folder of CamVid to check it")
def test_camvid_has_no_findings(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", os.path.dirname(os.path.abspath(CAMVID)))
    report = diagnose("camvid_sem_seg")
    assert [len(items) for items in report.inspections.values()] == [367, 101]
    assert report.findings == ()
