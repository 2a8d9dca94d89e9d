"""Toy scenes: reproducible, complete, with every class in both splits."""

import json
import runpy
import sys

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from helpers.repository import ROOT
from segvit.dataset_tools.toy_scenes import TOY_SCENES_CATEGORIES, draw_scene, generate_toy_scenes

SCRIPT = ROOT / "datasets" / "generate_toy_scenes.py"


def test_a_scene_depends_on_seed_split_and_index_alone():
    image, labels = draw_scene(3, "train", 5)
    assert image.shape == (*labels.shape, 3) == (128, 160, 3)
    assert image.dtype == labels.dtype == np.uint8
    again = draw_scene(3, "train", 5)
    assert np.array_equal(image, again[0]) and np.array_equal(labels, again[1])
    for other in ((4, "train", 5), (3, "val", 5), (3, "train", 6)):
        assert not np.array_equal(labels, draw_scene(*other)[1])


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_class_occurs_and_few_pixels_are_ignored(split):
    counts = sum(np.bincount(draw_scene(0, split, index)[1].ravel(), minlength=256) for index in range(12))
    fractions = counts / counts.sum()
    classes = len(TOY_SCENES_CATEGORIES)
    assert fractions[:classes].min() > 0.01
    assert fractions[classes:255].sum() == 0
    assert 0.005 < fractions[255] < 0.05


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split must be one of"):
        draw_scene(0, "test", 0)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_generated_folder_is_the_registered_dataset(tmp_path, monkeypatch):
    folder = generate_toy_scenes(tmp_path, seed=1, num_train=3, num_val=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy_scenes"]
    assert json.loads((folder / "meta.json").read_text())["counts"] == {"train": 3, "val": 2}
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert len(DatasetCatalog.get("toy_scenes_sem_seg_val")) == 2
    first = DatasetCatalog.get("toy_scenes_sem_seg_train")[0]
    image, labels = draw_scene(1, "train", 0)
    assert np.array_equal(np.asarray(Image.open(first["sem_seg_file_name"])), labels)
    jpeg = np.asarray(Image.open(first["file_name"])).astype(int)
    assert np.abs(jpeg - image).mean() < 8


def test_a_second_run_keeps_equal_scenes_and_replaces_others(tmp_path):
    folder = generate_toy_scenes(tmp_path, num_train=2, num_val=1)
    before, stamp = files(folder), (folder / "meta.json").stat().st_mtime_ns
    generate_toy_scenes(tmp_path, num_train=2, num_val=1)
    assert (folder / "meta.json").stat().st_mtime_ns == stamp
    generate_toy_scenes(tmp_path, seed=9, num_train=1, num_val=1)
    assert len(files(folder)) == 5
    generate_toy_scenes(tmp_path, num_train=2, num_val=1)
    assert files(folder) == before


def test_a_folder_with_other_files_is_kept(tmp_path):
    (tmp_path / "toy_scenes").mkdir()
    (tmp_path / "toy_scenes" / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="move it away"):
        generate_toy_scenes(tmp_path, num_train=1, num_val=1)
    assert (tmp_path / "toy_scenes" / "mine.txt").read_text() == "keep"


def test_a_failed_run_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr("segvit.dataset_tools.toy_scenes.writer.cv2.imwrite", lambda *_: False)
    with pytest.raises(OSError, match="could not write"):
        generate_toy_scenes(tmp_path, num_train=1, num_val=1)
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_the_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--root", str(tmp_path), "--num-train", "1", "--num-val", "1"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert capsys.readouterr().out.strip() == str(tmp_path / "toy_scenes")
    assert len(files(tmp_path / "toy_scenes")) == 5
