"""File names in different Unicode forms, text files in different encodings, and a missing DATASETS.FOLDER."""

import json
import unicodedata

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from helpers.doctor import diagnose
from helpers.folders import write_folder
from helpers.repository import CONFIGS
from segvit.d2 import load_config
from segvit.dataset_tools.conversion import read_palette
from segvit.datasets import load_sem_seg_pairs, read_class_list
from segvit.errors import UserError

NAME = "Stra\u00dfe in M\u00fcnchen \u00e9"


def in_form(form):
    return unicodedata.normalize(form, NAME)


@pytest.fixture
def folder(tmp_path):
    """b.jpg has a composed name (NFC, as on Windows), b.png a decomposed one (NFD, as on older macOS)."""
    folder = write_folder(tmp_path / "mine")
    (folder / "images/train/b.jpg").rename(folder / f"images/train/{in_form('NFC')}.jpg")
    (folder / "annotations/train/b.png").rename(folder / f"annotations/train/{in_form('NFD')}.png")
    yield folder
    for name in [name for name in DatasetCatalog.list() if name.startswith("folder_")]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_names_pair_in_any_unicode_form(folder):
    assert in_form("NFC") != in_form("NFD")
    pairs = load_sem_seg_pairs(folder / "images/train", folder / "annotations/train")
    assert len(pairs) == 4
    (pair,) = [pair for pair in pairs if "nchen" in pair["file_name"]]
    assert in_form("NFC") in pair["file_name"] and in_form("NFD") in pair["sem_seg_file_name"]


def test_the_doctor_pairs_names_in_any_unicode_form(folder):
    assert diagnose(folder).findings == ()


def test_two_names_that_differ_in_their_unicode_form_are_refused(tmp_path):
    for form in ("NFC", "NFD"):
        (tmp_path / f"{in_form(form)}.png").touch()
    with pytest.raises(UserError, match="same stem"):
        load_sem_seg_pairs(tmp_path, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_class_names_are_read_in_unicode_encodings(tmp_path, encoding):
    (tmp_path / "classes.txt").write_text("caf\u00e9\n\u9053\u8def\n", encoding=encoding)
    assert read_class_list(tmp_path).names == ("caf\u00e9", "\u9053\u8def")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_other_encodings_name_the_file_and_the_remedy(tmp_path, encoding):
    (tmp_path / "classes.txt").write_text("road\ncaf\u00e9\n", encoding=encoding)
    with pytest.raises(UserError, match=r"classes\.txt: .*UTF-8"):
        read_class_list(tmp_path)


def test_a_palette_in_another_encoding_names_the_file_and_the_remedy(tmp_path):
    classes = read_class_list(write_folder(tmp_path / "mine"))
    content = json.dumps([{"name": "caf\u00e9", "color": [1, 2, 3]}], ensure_ascii=False)
    (tmp_path / "palette.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"palette\.json: .*UTF-8"):
        read_palette(tmp_path / "palette.json", classes, 255, unlisted_as_ignored=False)


def test_a_missing_folder_names_the_keys_to_predict_without_it(folder, tmp_path):
    config = tmp_path / "config.yaml"
    cfg = load_config(CONFIGS / "custom" / "segvit_scratch.yaml", ["DATASETS.FOLDER", str(folder)])
    config.write_text(cfg.dump())
    folder.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"DATASETS\.FOLDER: .*mine .*DATASETS\.FOLDER \"\""):
        load_config(config)
    assert load_config(config, ["DATASETS.FOLDER", ""]).MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3
