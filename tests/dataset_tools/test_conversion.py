"""`check_dataset.py --convert-to`: one command from colours, binary masks or ids from 1 to a folder that trains."""

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from helpers.doctor import diagnose
from helpers.folders import COLORS, write_folder
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.data.label_reading import read_label_map
from segvit.datasets import load_sem_seg_pairs
from segvit.errors import UserError


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Run the command without figures -> its exit code."""
    tool = load_script(PROJECT / "tools" / "check_dataset.py")
    monkeypatch.setattr(tool, "draw_histogram", lambda *arguments, **options: None)
    monkeypatch.setattr(tool, "draw_samples", lambda *arguments, **options: False)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: tool.main([str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "mine")


def change_all(folder, change):
    """Replace all label maps -> their original ids by path."""
    originals = {}
    for path in sorted(folder.glob("annotations/*/*.png")):
        originals[path.relative_to(folder)] = ids = read_label_map(path)
        Image.fromarray(change(ids)).save(path)
    return originals


def to_colors(ids):
    return np.array([*COLORS, (0, 0, 0)], np.uint8)[np.minimum(ids, 3)]


def assert_trains(folder, expected):
    """The new folder is complete, without findings, and has the expected ids."""
    assert diagnose(folder).findings == ()
    for split, count in (("train", 4), ("val", 2)):
        assert len(load_sem_seg_pairs(folder / "images" / split, folder / "annotations" / split)) == count
    for name, ids in expected.items():
        assert np.array_equal(read_label_map(folder / name), ids)


def test_colour_masks_become_a_folder_that_trains(check, folder, tmp_path):
    ids = change_all(folder, to_colors)
    assert check(folder, "--convert-to", "new", "--unlisted-as-ignored") == 0
    assert_trains(tmp_path / "new", ids)


@pytest.mark.parametrize("channels", [1, 3])
def test_binary_masks_become_a_folder_that_trains(check, folder, tmp_path, channels):
    (folder / "classes.json").unlink()
    (folder / "classes.txt").write_text("background\ncrack\n")
    masks = change_all(
        folder, lambda ids: np.repeat(np.where(ids == 1, 255, 0).astype(np.uint8)[..., None], channels, -1).squeeze()
    )
    assert check(folder, "--convert-to", "new", "--map-ids", "255=1") == 0
    assert_trains(tmp_path / "new", {name: ids == 1 for name, ids in masks.items()})


def test_ids_from_one_become_a_folder_that_trains(check, folder, tmp_path):
    ids = change_all(folder, lambda ids: np.where(ids == 255, 0, ids + 1).astype(np.uint8))
    assert check(folder, "--convert-to", "new", "--map-ids", "from-one") == 0
    assert_trains(tmp_path / "new", ids)


def test_ids_are_mapped_in_place(check, folder):
    ids = change_all(folder, lambda ids: np.where(ids == 255, 0, ids + 1).astype(np.uint8))
    assert check(folder, "--convert-in-place", "--map-ids", "0=ignore,1=0,2=1,3=2") == 0
    assert_trains(folder, ids)


def test_the_doctor_names_the_conversion_of_binary_masks_and_of_ids_from_one(folder):
    change_all(folder, lambda ids: np.where(ids == 1, 255, 0).astype(np.uint8))
    (finding,) = diagnose(folder).findings
    assert finding.kind == "ignored_foreground" and "--convert-to NEW_FOLDER --map-ids 255=1" in finding.message


@pytest.mark.parametrize("colors", [True, False])
def test_unlisted_colours_are_one_list_with_fractions(check, tmp_path, capsys, colors):
    folder = write_folder(tmp_path / "mine", colors=colors)
    change_all(folder, to_colors)
    with pytest.raises(SystemExit):
        check(folder, "--convert-to", "new")
    errors = capsys.readouterr().err
    assert errors.count("(0, 0, 0): 4.17 %") == 1  # one of 24 rows
    assert "6 of 6 label maps" in errors and ".png" not in errors
    assert not Path("new").exists()


@pytest.mark.parametrize("rule", ["", "1", "1=", "1=2,", "a=b", "-1=0", "ignore=1"])
def test_malformed_rules_are_refused(check, folder, capsys, rule):
    if rule:
        with pytest.raises(SystemExit):
            check(folder, "--convert-to", "new", "--map-ids", rule) if rule[0] != "-" else check(
                folder, "--convert-to", "new", f"--map-ids={rule}"
            )
        assert "--map-ids" in capsys.readouterr().err


def test_ids_without_a_class_are_listed(check, folder, capsys):
    with pytest.raises(SystemExit):
        check(folder, "--convert-to", "new", "--map-ids", "2=7")
    errors = capsys.readouterr().err
    assert " 7: " in errors and "%" in errors and "--map-ids" in errors


def test_a_mapping_needs_a_conversion(check, folder, capsys):
    with pytest.raises(SystemExit):
        check(folder, "--map-ids", "255=1")
    assert "--convert-to" in capsys.readouterr().err


def test_the_class_list_is_copied(check, folder, tmp_path):
    change_all(folder, to_colors)
    assert check(folder, "--convert-to", "new", "--unlisted-as-ignored") == 0
    assert json.loads((tmp_path / "new/classes.json").read_text()) == json.loads((folder / "classes.json").read_text())


def test_a_registered_dataset_is_not_converted_to_a_folder(folder):
    from segvit.dataset_tools.conversion import convert_to_dataset
    from segvit.datasets import register_sem_seg_split

    try:
        register_sem_seg_split(
            "test_conversion", folder=folder, split="val", stuff_classes=["a", "b", "c"], stuff_colors=list(COLORS)
        )
        with pytest.raises(UserError, match="--convert-to takes a FOLDER"):
            convert_to_dataset(diagnose("test_conversion"), None, folder / "new")
    finally:
        DatasetCatalog.remove("test_conversion")
        MetadataCatalog.remove("test_conversion")
