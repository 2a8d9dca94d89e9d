"""DATASETS.FOLDER: the class list, the splits, and the config keys that depend on them."""

import json
import logging
from pathlib import Path

import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from helpers.folders import CLASSES, COLORS, write_folder
from helpers.repository import CONFIGS
from segvit.d2 import get_segvit_cfg, load_config
from segvit.data import SegViTSemanticDatasetMapper
from segvit.datasets import read_class_list, register_folder

CUSTOM = sorted((CONFIGS / "custom").glob("*.yaml"))


@pytest.fixture
def folder(tmp_path):
    yield write_folder(tmp_path / "mine")
    for name in [name for name in DatasetCatalog.list() if name.startswith("folder_")]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def classes_file(tmp_path):
    def write(name, content):
        (tmp_path / name).write_text(content, encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize("content", ["a\nthe b\nc\n", "a\r\nthe b\r\nc", "\ufeff a\nthe b \nc\n\n\n"])
def test_class_names_are_read_as_editors_save_them(classes_file, content):
    classes = read_class_list(classes_file("classes.txt", content))
    assert classes.names == ("a", "the b", "c")
    assert len(set(classes.colors)) == 3 and not classes.colors_given


def test_default_colours_are_distinct(classes_file):
    classes = read_class_list(classes_file("classes.txt", "\n".join(f"class {i}" for i in range(255))))
    assert len(set(classes.colors)) == 255 and (0, 0, 0) not in classes.colors


def test_names_and_colours_are_read_from_json(classes_file):
    content = json.dumps([{"name": "a", "color": [1, 2, 3]}, {"name": "b", "color": [4, 5, 6]}])
    classes = read_class_list(classes_file("classes.json", content))
    assert (classes.names, classes.colors, classes.colors_given) == (("a", "b"), ((1, 2, 3), (4, 5, 6)), True)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("classes.txt", "\n \n", r"classes\.txt: contains no class name"),
        ("classes.txt", "a\n\nb\n", r"classes\.txt: line 2 is empty"),
        ("classes.txt", "a\nb\na\n", r"classes\.txt: classes 0 and 2 share the name 'a'"),
        ("classes.json", "{", r"classes\.json: not JSON \(Expecting"),
        ("classes.json", '{"a": 0}', r"classes\.json: must be a list of"),
        ("classes.json", '[{"name": "a", "id": 1}]', r"classes\.json: unknown id; .* its position is the id"),
        ("classes.json", '[{"color": [1, 2, 3]}]', r"classes\.json: every entry needs a \"name\""),
        ("classes.json", '[{"name": "a", "color": [1, 2, 300]}]', r"classes\.json: a: a colour is .*300"),
        ("classes.json", '[{"name": "a", "color": [1, 2, 3]}, {"name": "b"}]', r"1 of 2 entries lack a \"color\""),
        (
            "classes.json",
            '[{"name": "a", "color": [1, 2, 3]}, {"name": "b", "color": [1, 2, 3]}]',
            r"classes 0 and 1 share the colour",
        ),
    ],
)
def test_malformed_class_files_are_named(classes_file, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_class_list(classes_file(name, content))


def test_exactly_one_class_file_is_required(classes_file, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no classes\.txt .* and no classes\.json"):
        read_class_list(tmp_path)
    classes_file("classes.txt", "a")
    with pytest.raises(ValueError, match="both"):
        read_class_list(classes_file("classes.json", '[{"name": "a"}]'))


def test_any_image_extension_pairs_by_stem(folder):
    register_folder(folder)
    names = [
        (Path(it["file_name"]).name, Path(it["sem_seg_file_name"]).name) for it in DatasetCatalog.get("folder_train")
    ]
    assert names == [("a.tif", "a.png"), ("b.jpg", "b.png"), ("c.bmp", "c.png"), ("d.webp", "d.png")]
    names = [Path(it["file_name"]).name for it in DatasetCatalog.get("folder_val")]
    assert names == ["e.JPEG", "f.png"]


def test_every_image_can_be_mapped(folder, tiny_cfg):
    register_folder(folder)
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    mapper = SegViTSemanticDatasetMapper(tiny_cfg, is_train=True)
    assert all(mapper(record)["image"].shape[0] == 3 for record in DatasetCatalog.get("folder_train"))


def test_metadata_come_from_the_class_file(folder):
    register_folder(folder, ignore_label=254)
    meta = MetadataCatalog.get("folder_val")
    assert meta.stuff_classes == list(CLASSES) and meta.stuff_colors == list(COLORS)
    assert (meta.ignore_label, meta.evaluator_type) == (254, "sem_seg")


def test_further_splits_are_registered(folder):
    (folder / "images" / "test").mkdir()
    register_folder(folder)
    assert {"folder_train", "folder_val", "folder_test"} <= set(DatasetCatalog.list())


def test_another_folder_replaces_the_first_with_a_warning(folder, tmp_path, caplog):
    (folder / "images" / "test").mkdir()
    register_folder(folder)
    other = write_folder(tmp_path / "other", colors=False)
    with caplog.at_level(logging.WARNING):
        register_folder(other)
    assert "folder_val" in caplog.text and str(folder) in caplog.text and str(other) in caplog.text
    assert "folder_test" not in DatasetCatalog
    assert all(str(other) in record["file_name"] for record in DatasetCatalog.get("folder_val"))
    caplog.clear()
    register_folder(other)
    assert not caplog.text


@pytest.mark.parametrize("path", CUSTOM, ids=lambda path: path.stem)
def test_custom_configs_use_the_classes_of_the_folder(path, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    cfg = load_config(path, ["DATASETS.FOLDER", "mine"])
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3
    assert str(folder) == cfg.DATASETS.FOLDER
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("folder_train",), ("folder_val",))
    assert cfg.TEST.SAVE_PREDICTIONS


def test_a_config_that_was_saved_can_be_read_again(folder, tmp_path):
    saved = tmp_path / "config.yaml"
    saved.write_text(load_config(CUSTOM[0], ["DATASETS.FOLDER", str(folder)]).dump())
    assert yaml.safe_load(saved.read_text())["MODEL"]["SEM_SEG_HEAD"]["NUM_CLASSES"] == 3
    (folder / "classes.json").unlink()
    (folder / "classes.txt").write_text("one\ntwo\nthree\nfour\n")
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 3, but .*mine has 4 classes"):
        load_config(saved)
    assert load_config(saved, ["DATASETS.FOLDER", ""]).MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3  # a model needs no folder


@pytest.mark.parametrize(
    "overrides, message",
    [
        ([], r"DATASETS\.FOLDER"),
        (["DATASETS.FOLDER", "/nowhere"], r"DATASETS\.FOLDER: folder /nowhere does not exist"),
        (["DATASETS.FOLDER", "{tmp}"], r"DATASETS\.FOLDER: .* has no classes\.txt"),
        (["DATASETS.FOLDER", "{mine}", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "4"], "NUM_CLASSES is 4, but .* has 3"),
        (["DATASETS.FOLDER", "{mine}", "MODEL.SEM_SEG_HEAD.IGNORE_VALUE", "0"], "ignore value 0 is also .*'grass'"),
        (["DATASETS.FOLDER", "{mine}", "DATASETS.TEST", "('folder_test',)"], r"\['folder_test'\]"),
    ],
)
def test_contradictions_are_refused(folder, tmp_path, overrides, message):
    overrides = [item.format(tmp=tmp_path, mine=folder) for item in overrides]
    with pytest.raises(ValueError, match=message):
        load_config(CONFIGS / "custom" / "segvit_scratch.yaml", overrides)


def test_a_folder_that_the_config_does_not_use_is_refused(folder):
    camvid = CONFIGS / "camvid" / "segvit_scratch_480x360.yaml"
    with pytest.raises(ValueError, match=r"name none of its datasets .*DATASETS\.TRAIN \"\('folder_train',\)\""):
        load_config(camvid, ["DATASETS.FOLDER", str(folder)])
    opts = ["DATASETS.TRAIN", "('folder_train',)", "DATASETS.TEST", "('folder_val',)"]
    cfg = load_config(camvid, ["DATASETS.FOLDER", str(folder), *opts, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "0"])
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3


def test_without_a_folder_no_dataset_is_registered():
    before = DatasetCatalog.list()
    assert get_segvit_cfg().DATASETS.FOLDER == ""
    load_config(CONFIGS / "camvid" / "segvit_scratch_480x360.yaml")
    assert DatasetCatalog.list() == before
