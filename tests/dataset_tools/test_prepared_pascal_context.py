"""PASCAL-Context, prepared from replicas of its two distributions (MATLAB files and PASCAL in Detail's JSON)."""

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from helpers.dataset_replicas import (
    pascal_labels,
    pascal_names,
    pascal_stems,
    write_pascal_json,
    write_pascal_mats,
    write_voc2010,
)
from segvit.dataset_tools.preparation import prepare
from segvit.dataset_tools.preparation.benchmarks import pascal_context
from segvit.datasets.benchmarks.pascal_context import PASCAL_CONTEXT_CATEGORIES

# pycocotools on current NumPy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def small_benchmark(monkeypatch):
    monkeypatch.setattr(pascal_context, "SIZES", {key: {"train": 4, "val": 3} for key in ("mat", "json")})


def read(path):
    return np.asarray(Image.open(path))


def problems(report):
    return {problem.path.name: problem.what for problem in report.problems}


@pytest.fixture(params=["mat", "json"])
def pascal(request, tmp_path):
    """A root with VOC2010 and the labels of one source, and the name of the source."""
    voc = write_voc2010(tmp_path)
    {"mat": write_pascal_mats, "json": write_pascal_json}[request.param](voc)
    return tmp_path, request.param


def find_pascal(root, source=None):
    return pascal_context.find_pascal_context(root, root / "VOCdevkit" / "VOC2010", source)


def test_registered_label_maps_have_the_right_ids(pascal, monkeypatch):
    root, source = pascal
    report = prepare(find_pascal(root), workers=1)
    assert report.is_complete() and not report.notes and source in report.name
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    without = {raw: index for index, (raw, _) in enumerate(PASCAL_CONTEXT_CATEGORIES)}
    for split, count in (("train", 4), ("val", 3)):
        pairs = {classes: DatasetCatalog.get(f"pascal_context_{classes}_sem_seg_{split}") for classes in (59, 60)}
        assert [Path(pair["file_name"]).stem for pair in pairs[59]] == pascal_stems(split, count)
        for seed, (pair_59, pair_60) in enumerate(zip(pairs[59], pairs[60], strict=True)):
            labels_59, labels_60 = (read(pair["sem_seg_file_name"]) for pair in (pair_59, pair_60))
            expected = np.vectorize(lambda raw: without.get(raw, 255))(pascal_labels(seed))
            assert np.array_equal(labels_59, expected) and (expected == 255).any()
            assert np.array_equal(labels_60, (labels_59 + 1).astype(np.uint8))  # 255 becomes 0, the background


def test_a_second_run_keeps_files_and_another_source_replaces_them(pascal):
    root, source = pascal
    prepare(find_pascal(root), workers=1)
    assert [split.kept for split in prepare(find_pascal(root), workers=1).splits] == [4, 3]
    other = "json" if source == "mat" else "mat"
    {"mat": write_pascal_mats, "json": write_pascal_json}[other](root / "VOCdevkit" / "VOC2010")
    assert [split.written for split in prepare(find_pascal(root, other), workers=1).splits] == [4, 3]


def test_mat_files_are_preferred_to_the_json(tmp_path):
    voc = write_voc2010(tmp_path)
    write_pascal_mats(voc)
    write_pascal_json(voc)
    assert ".mat" in find_pascal(tmp_path).name
    assert "json" in find_pascal(tmp_path, "json").name


def test_missing_images_are_named(pascal):
    root, _ = pascal
    stem = pascal_stems("val", 2)[1]
    (root / "VOCdevkit" / "VOC2010" / "JPEGImages" / f"{stem}.jpg").unlink()
    report = prepare(find_pascal(root), workers=1)
    assert problems(report)[f"{stem}.jpg"] == "the image of an annotation"
    assert report.is_complete(allow_missing=True) and not report.is_complete()


def test_a_label_list_with_other_ids_is_refused(tmp_path):
    voc = write_voc2010(tmp_path)
    write_pascal_mats(voc)
    labels = voc / "labels.txt"
    lines = [f"{index + 1}: {name}\n" for index, name in pascal_names().items()]
    labels.write_text("".join(lines))
    assert "label aeroplane has id 3, in PASCAL-Context 2" in [
        problem.what for problem in find_pascal(tmp_path).problems
    ]


def test_a_label_list_with_other_names_is_noted(tmp_path):
    voc = write_voc2010(tmp_path)
    write_pascal_mats(voc)
    labels = voc / "labels.txt"
    labels.write_text(labels.read_text().replace("motorbike", "motorcycle"))
    distribution = find_pascal(tmp_path)
    assert not distribution.problems
    assert distribution.notes == [f"{labels}: label 258 is called motorcycle, here motorbike"]
    labels.unlink()
    assert "assuming that the labels are numbered as in the distribution" in find_pascal(tmp_path).notes[0]


def test_damaged_masks_are_named(tmp_path):
    def shrink(content):
        content["annos_segmentation"][0]["area"] += 1
        content["annos_segmentation"][-1]["segmentation"] = {"size": [24, 32]}

    write_pascal_json(write_voc2010(tmp_path), change=shrink)
    report = prepare(find_pascal(tmp_path), workers=1)
    first, last = [problem.what for problem in report.problems if problem.path.name == "trainval_merged.json"]
    assert "2008_000001.jpg: a mask cannot be read" in first and "but its area is" in first
    assert "2009_000003.jpg: a mask cannot be read (KeyError('counts'))" in last
    assert [split.written for split in report.splits] == [3, 2]


def test_masks_with_uncompressed_counts_are_read(tmp_path):
    def uncompress(content):
        for annotation in content["annos_segmentation"]:
            annotation["segmentation"]["counts"] = [24 * 32 - 5, 5]
            annotation["area"] = 5

    write_pascal_json(write_voc2010(tmp_path), change=uncompress)
    assert prepare(find_pascal(tmp_path), workers=1).is_complete()
