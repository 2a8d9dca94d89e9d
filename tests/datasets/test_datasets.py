"""Pairing by stem, and the registered datasets."""

import importlib

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

import segvit.data
from helpers.repository import CONFIGS
from segvit.d2 import get_segvit_cfg
from segvit.datasets import load_sem_seg_pairs, register_sem_seg_split, require_datasets
from segvit.datasets.benchmarks.coco_stuff_10k import COCO_STUFF_10K_CATEGORIES


@pytest.fixture
def folders(tmp_path):
    def touch(images, annotations):
        for folder, names in (("images", images), ("annotations", annotations)):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / name).touch()
        return tmp_path / "images", tmp_path / "annotations"

    return touch


def stems(pairs):
    return [(pair["file_name"].rpartition("/")[2], pair["sem_seg_file_name"].rpartition("/")[2]) for pair in pairs]


def test_files_pair_by_stem_with_any_extension(folders):
    image_dir, annotation_dir = folders(
        ["b.JPG", "a.png", "c.jpeg", ".d.jpg", "notes.txt"], ["c.png", "a.PNG", "b.png"]
    )
    expected = [("a.png", "a.PNG"), ("b.JPG", "b.png"), ("c.jpeg", "c.png")]
    assert stems(load_sem_seg_pairs(image_dir, annotation_dir)) == expected


def test_images_without_a_label_map_are_named(folders):
    image_dir, annotation_dir = folders(["a.jpg", "b.jpg"], ["a.png", "c.png"])
    with pytest.raises(ValueError, match=r"1 images .*: b;"):
        load_sem_seg_pairs(image_dir, annotation_dir)


def test_a_few_label_maps_without_an_image_are_named(folders):
    image_dir, annotation_dir = folders(["a.jpg"], ["a.png", *(f"x{i}.png" for i in range(8))])
    with pytest.raises(ValueError, match=r"8 label maps .*: x0, x1, x2, x3, x4 and 3 more;"):
        load_sem_seg_pairs(image_dir, annotation_dir)


def test_two_images_with_one_stem_are_refused(folders):
    image_dir, annotation_dir = folders(["a.jpg", "a.png"], ["a.png"])
    with pytest.raises(ValueError, match="same stem"):
        load_sem_seg_pairs(image_dir, annotation_dir)


def test_missing_and_empty_folders_are_named(folders, tmp_path):
    image_dir, annotation_dir = folders([], [])
    with pytest.raises(FileNotFoundError, match=r"nowhere.*DETECTRON2_DATASETS"):
        load_sem_seg_pairs(tmp_path / "nowhere", annotation_dir)
    with pytest.raises(ValueError, match=r"images: no file with an extension of .*\.jpg"):
        load_sem_seg_pairs(image_dir, annotation_dir)


@pytest.mark.parametrize(
    "name, classes",
    [(f"camvid_sem_seg_{split}", 11) for split in ("train", "val", "test")]
    + [(f"toy_scenes_sem_seg_{split}", 10) for split in ("train", "val")]
    + [(f"coco_2017_{split}_stuff_10k_sem_seg", 171) for split in ("train", "test")]
    + [(f"pascal_context_{classes}_sem_seg_{split}", classes) for classes in (59, 60) for split in ("train", "val")],
)
def test_registered_datasets_have_distinct_names_and_colours(name, classes):
    metadata = MetadataCatalog.get(name)
    assert name in DatasetCatalog.list()
    assert len(metadata.stuff_classes) == len(set(metadata.stuff_classes)) == classes
    assert len(set(metadata.stuff_colors)) == classes
    assert (metadata.ignore_label, metadata.evaluator_type) == (255, "sem_seg")


def test_the_classes_of_camvid_have_the_published_order():
    names = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    assert MetadataCatalog.get("camvid_sem_seg_val").stuff_classes == names


def test_coco_stuff_omits_unused_ids():
    ids = [index for index, _ in COCO_STUFF_10K_CATEGORIES]
    assert ids == sorted(set(range(1, 183)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91})
    names = MetadataCatalog.get("coco_2017_test_stuff_10k_sem_seg").stuff_classes
    assert [names[index] for index in (0, 79, 80, 170)] == ["person", "toothbrush", "banner", "wood"]


def test_pascal_context_classes_are_alphabetical_after_the_background():
    with_background = MetadataCatalog.get("pascal_context_60_sem_seg_val")
    without = MetadataCatalog.get("pascal_context_59_sem_seg_val")
    assert with_background.stuff_classes == ["background", *sorted(without.stuff_classes)]
    assert with_background.stuff_classes[1:] == without.stuff_classes
    assert with_background.stuff_colors[1:] == without.stuff_colors


def test_every_config_names_registered_datasets():
    registered = DatasetCatalog.list()
    for path in CONFIGS.rglob("*.yaml"):
        cfg = get_segvit_cfg()
        cfg.merge_from_file(str(path))
        names = {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST}
        # Those of DATASETS.FOLDER are registered when a folder is named.
        assert {name for name in names if not name.startswith("folder_")} <= {*registered}, path


def test_a_second_registration_changes_nothing():
    before = DatasetCatalog.list()
    importlib.reload(segvit.datasets)
    assert DatasetCatalog.list() == before


def test_the_environment_is_read_when_data_are_listed(tmp_path, monkeypatch):
    for folder, suffix in (("images", "jpg"), ("annotations", "png")):
        path = tmp_path / "camvid" / folder / "val"
        path.mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path / f"one.{suffix}")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert stems(DatasetCatalog.get("camvid_sem_seg_val")) == [("one.jpg", "one.png")]
    with pytest.raises(FileNotFoundError, match="train"):
        DatasetCatalog.get("camvid_sem_seg_train")


def test_a_split_in_any_folder_can_be_registered(tmp_path):
    for folder in ("images", "annotations"):
        (tmp_path / folder / "val").mkdir(parents=True)
        (tmp_path / folder / "val" / "one.png").touch()
    name = "test_split_anywhere"
    try:
        register_sem_seg_split(
            name, folder=tmp_path, split="val", stuff_classes=["a"], stuff_colors=[(1, 2, 3)], ignore_label=0
        )
        assert stems(DatasetCatalog.get(name)) == [("one.png", "one.png")]
        assert MetadataCatalog.get(name).ignore_label == 0
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_a_missing_or_unknown_dataset_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(ValueError, match=r"'camvid_sem_seg_val': .*images/val .*datasets/README"):
        require_datasets(["camvid_sem_seg_val"])
    with pytest.raises(ValueError, match=r"^unknown dataset 'nothing'; near: "):
        require_datasets(["nothing"])
    with pytest.raises(ValueError, match=r"'folder_vall' .*DATASETS.FOLDER"):
        require_datasets(["folder_vall"])
    require_datasets([])
