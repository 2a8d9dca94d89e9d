"""Each benchmark from its replica to what its registration reads; ADE20K also on real pictures where there are some."""

import os
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from detectron2.data import DatasetCatalog
from detectron2.data.datasets import load_sem_seg
from PIL import Image

from helpers.dataset_replicas import (
    blocks,
    coco_stuff_ids,
    pascal_labels,
    pascal_names,
    pascal_stems,
    write_ade20k,
    write_coco_mat,
    write_coco_stuff_10k,
    write_pascal_json,
    write_pascal_mats,
    write_voc2010,
)
from helpers.repository import ROOT
from segvit.dataset_tools.preparation import ade20k, coco_stuff_10k, pascal_context, prepare
from segvit.datasets.pascal_context import PASCAL_CONTEXT_CATEGORIES

# pycocotools on current NumPy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SCRIPTS = ROOT / "datasets"
SAMPLE = os.environ.get("SEGVIT_ADE20K_SAMPLE")


@pytest.fixture(autouse=True)
def small_benchmarks(monkeypatch):
    monkeypatch.setattr(ade20k, "SIZES", {"training": 4, "validation": 2})
    monkeypatch.setattr(coco_stuff_10k, "SIZES", {"train": 4, "test": 2})
    monkeypatch.setattr(pascal_context, "SIZES", {key: {"train": 4, "val": 3} for key in ("mat", "json")})


def read(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def call(monkeypatch, capfd):
    """A script, run as a command in this process -> exit code, standard output, standard error."""

    def run(script, root, *options):
        monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
        monkeypatch.setattr(sys, "argv", [script, "--workers", "1", *options])
        with pytest.raises(SystemExit) as done:
            runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        return (done.value.code, *capfd.readouterr())

    return run


def problems(report):
    return {problem.path.name: problem.what for problem in report.problems}


def read_as_detectron2_does(root, split):
    """With the arguments of Detectron2's own registration of ADE20K."""
    folder = root / "ADEChallengeData2016"
    return load_sem_seg(
        str(folder / "annotations_detectron2" / split), str(folder / "images" / split), gt_ext="png", image_ext="jpg"
    )


def test_ade20k_as_detectron2_reads_it(tmp_path):
    folder = write_ade20k(tmp_path)
    assert prepare(ade20k.find_ade20k(tmp_path), workers=1).is_complete()
    for split, count in (("training", 4), ("validation", 2)):
        pairs = read_as_detectron2_does(tmp_path, split)
        assert len(pairs) == count
        for pair in pairs:
            raw = read(folder / "annotations" / split / Path(pair["sem_seg_file_name"]).name).astype(int)
            assert Path(pair["file_name"]).stem == Path(pair["sem_seg_file_name"]).stem
            assert np.array_equal(read(pair["sem_seg_file_name"]), np.where(raw == 0, 255, raw - 1))


@pytest.mark.skipif(
    SAMPLE is None, reason="set SEGVIT_ADE20K_SAMPLE to a folder with images/ and annotations/ of ADE20K"
)
def test_ade20k_on_real_pictures(tmp_path, monkeypatch, call):
    monkeypatch.undo()  # the true sizes
    folder = tmp_path / "ADEChallengeData2016"
    for kind in ("images", "annotations"):
        shutil.copytree(Path(SAMPLE, kind), folder / kind / "validation")
    code, output, errors = call("prepare_ade20k_sem_seg.py", tmp_path, "--partial")
    assert code == 0, output + errors
    pairs = read_as_detectron2_does(tmp_path, "validation")
    assert len(pairs) == len(list(Path(SAMPLE, "images").iterdir())) > 0
    for pair in pairs:
        labels = read(pair["sem_seg_file_name"])
        raw = read(Path(SAMPLE, "annotations", Path(pair["sem_seg_file_name"]).name)).astype(int)
        assert np.array_equal(labels, np.where(raw == 0, 255, raw - 1))
        assert labels.shape == read(pair["file_name"]).shape[:2] and (labels < 150).mean() > 0.8


def as_classes(raw):
    """COCO-Stuff's ids as the class ids of the data set."""
    return np.vectorize({0: 255, **{raw: index for index, raw in enumerate(coco_stuff_ids())}}.get)(raw)


def test_coco_stuff_10k_as_it_is_registered(tmp_path, monkeypatch):
    folder = write_coco_stuff_10k(tmp_path)
    report = prepare(coco_stuff_10k.find_coco_stuff_10k(tmp_path), workers=1)
    assert report.is_complete() and not report.problems
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    seed = 0
    for split, count in (("train", 4), ("test", 2)):
        pairs = DatasetCatalog.get(f"coco_2017_{split}_stuff_10k_sem_seg")
        assert len(pairs) == count
        for pair in pairs:
            raw = blocks([0, *coco_stuff_ids()], seed)
            assert np.array_equal(read(pair["sem_seg_file_name"]), as_classes(raw))
            image = Path(pair["file_name"])
            assert image.samefile(folder / "images" / image.name)
            seed += 1


def test_coco_stuff_10k_ids_that_cannot_be_are_refused(tmp_path):
    folder = write_coco_stuff_10k(tmp_path)
    stem = "COCO_train2014_000000000002"
    write_coco_mat(folder / "annotations" / f"{stem}.mat", blocks([12, 83, 183], 0))
    report = prepare(coco_stuff_10k.find_coco_stuff_10k(tmp_path), workers=1)
    assert "label ids 12, 83, 183 do not occur" in problems(report)[f"{stem}.mat"]
    assert not report.is_complete(allow_missing=True)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.6, 0.9, 0.99])
def test_mat_files_that_were_cut_short_never_give_wrong_labels(tmp_path, share):
    folder = write_coco_stuff_10k(tmp_path)
    path = folder / "annotations" / "COCO_train2014_000000000005.mat"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    report = prepare(coco_stuff_10k.find_coco_stuff_10k(tmp_path), workers=1)
    target = folder / "annotations_detectron2" / "test" / f"{path.stem}.png"
    if path.name in problems(report):
        assert "not a readable MATLAB file" in problems(report)[path.name] and not target.exists()
    else:  # the cut is behind S
        assert share > 0.5 and np.array_equal(read(target), as_classes(blocks([0, *coco_stuff_ids()], 4)))


def test_mat_files_of_another_kind_are_named(tmp_path):
    folder = write_coco_stuff_10k(tmp_path)
    for number, content in ((1, {"T": np.zeros((24, 32))}), (2, {"S": "text"}), (3, {"S": np.zeros((2, 24, 32))})):
        scipy.io.savemat(folder / "annotations" / f"COCO_train2014_{number:012d}.mat", content)
    found = problems(prepare(coco_stuff_10k.find_coco_stuff_10k(tmp_path), workers=1))
    assert found["COCO_train2014_000000000001.mat"] == "has no variable S"
    assert found["COCO_train2014_000000000002.mat"] == "S is not a matrix of numbers"
    assert found["COCO_train2014_000000000003.mat"] == "S is not a matrix of numbers"


def test_coco_stuff_10k_names_what_is_missing(tmp_path):
    folder = write_coco_stuff_10k(tmp_path)
    (folder / "images" / "COCO_train2014_000000000001.jpg").unlink()
    (folder / "annotations" / "COCO_train2014_000000000002.mat").unlink()
    (folder / "imageLists" / "test.txt").unlink()
    report = prepare(coco_stuff_10k.find_coco_stuff_10k(tmp_path), workers=1)
    names = {"COCO_train2014_000000000001.jpg", "COCO_train2014_000000000002.mat", "test.txt", "train", "test"}
    assert set(problems(report)) == names
    assert report.is_complete(allow_missing=True) and not report.is_complete()


@pytest.fixture(params=["mat", "json"])
def pascal(request, tmp_path):
    """A root with VOC2010 and labels from one of the two sources, and that source."""
    voc = write_voc2010(tmp_path)
    {"mat": write_pascal_mats, "json": write_pascal_json}[request.param](voc)
    return tmp_path, request.param


def find_pascal(root, source=None):
    return pascal_context.find_pascal_context(root, root / "VOCdevkit" / "VOC2010", source)


def test_pascal_context_as_it_is_registered(pascal, monkeypatch):
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


def test_pascal_context_again_and_from_the_other_source(pascal):
    root, source = pascal
    prepare(find_pascal(root), workers=1)
    assert [split.kept for split in prepare(find_pascal(root), workers=1).splits] == [4, 3]
    other = "json" if source == "mat" else "mat"
    {"mat": write_pascal_mats, "json": write_pascal_json}[other](root / "VOCdevkit" / "VOC2010")
    assert [split.written for split in prepare(find_pascal(root, other), workers=1).splits] == [4, 3]


def test_both_sources_there_prefers_the_mat_files(tmp_path):
    voc = write_voc2010(tmp_path)
    write_pascal_mats(voc)
    write_pascal_json(voc)
    assert ".mat" in find_pascal(tmp_path).name
    assert "json" in find_pascal(tmp_path, "json").name


def test_pascal_context_names_missing_images(pascal):
    root, _ = pascal
    stem = pascal_stems("val", 2)[1]
    (root / "VOCdevkit" / "VOC2010" / "JPEGImages" / f"{stem}.jpg").unlink()
    report = prepare(find_pascal(root), workers=1)
    assert problems(report)[f"{stem}.jpg"] == "the image of an annotation"
    assert report.is_complete(allow_missing=True) and not report.is_complete()


def test_labels_with_other_numbers_are_refused(tmp_path):
    voc = write_voc2010(tmp_path)
    write_pascal_mats(voc)
    labels = voc / "labels.txt"
    lines = [f"{index + 1}: {name}\n" for index, name in pascal_names().items()]
    labels.write_text("".join(lines))
    assert "label aeroplane has id 3, in PASCAL-Context 2" in [
        problem.what for problem in find_pascal(tmp_path).problems
    ]


def test_labels_with_other_names_are_noted(tmp_path):
    voc = write_voc2010(tmp_path)
    write_pascal_mats(voc)
    labels = voc / "labels.txt"
    labels.write_text(labels.read_text().replace("motorbike", "motorcycle"))
    found = find_pascal(tmp_path)
    assert not found.problems and found.notes == [f"{labels}: label 258 is called motorcycle, here motorbike"]
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


@pytest.mark.parametrize(
    "content, message", [("{", "not JSON"), ("{}", "not in the format"), ("[]", "not in the format")]
)
def test_a_json_in_another_format_than_pascal_in_detail_is_named(tmp_path, call, content, message):
    voc = write_voc2010(tmp_path)
    (voc / "trainval_merged.json").write_text(content)
    code, _, errors = call("prepare_pascal_context.py", tmp_path)
    assert code == 2 and "Traceback" not in errors
    assert f"{voc / 'trainval_merged.json'}: {message}" in errors


@pytest.mark.parametrize(
    "script, named",
    [
        ("prepare_ade20k_sem_seg.py", "ADEChallengeData2016.zip"),
        ("prepare_coco_stuff_10k.py", "cocostuff-10k-v1.1.zip"),
        ("prepare_pascal_context.py", "trainval.tar.gz"),
    ],
)
def test_every_script_lists_what_is_missing(tmp_path, call, script, named):
    code, output, errors = call(script, tmp_path / "empty")
    assert code == 1
    assert "missing: " in output and named in output
    assert "Traceback" not in errors and "not complete" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "script, write, prepared",
    [
        ("prepare_coco_stuff_10k.py", write_coco_stuff_10k, "coco/coco_stuff_10k/annotations_detectron2"),
        ("prepare_pascal_context.py", lambda root: write_pascal_mats(write_voc2010(root)), "pascal_context"),
    ],
)
def test_every_script_counts_against_the_benchmark(tmp_path, monkeypatch, call, script, write, prepared):
    monkeypatch.undo()  # the true sizes
    write(tmp_path)
    code, output, _ = call(script, tmp_path)
    assert code == 1 and "4 images are prepared" in output
    assert call(script, tmp_path, "--partial")[0] == 0
    assert sum(1 for _ in (tmp_path / prepared).rglob("*.png")) in (6, 14)


def test_the_voc_folder_may_be_elsewhere(tmp_path, call):
    write_pascal_mats(write_voc2010(tmp_path / "there"))
    voc = tmp_path / "there" / "VOCdevkit" / "VOC2010"
    options = ("--voc", str(voc), "--source", "mat", "--partial")
    code, output, _ = call("prepare_pascal_context.py", tmp_path / "here", *options)
    assert code == 0, output
    checksums = (tmp_path / "here" / "pascal_context" / "prepared.sha256").read_text().splitlines()
    assert len(checksums) == 1 + 7 * 3 and "from mat" in checksums[0]
