"""PASCAL VOC 2012 with SBD and Cityscapes, prepared from replicas; ADE20K's full set, which is refused."""

import argparse

import numpy as np
import pytest
import scipy.io
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.cityscapes import load_cityscapes_semantic
from PIL import Image

from helpers.dataset_replicas import HEIGHT, WIDTH, blocks, write_ade20k
from helpers.doctor import diagnose, kinds
from helpers.voc_and_cityscapes import IN_VOC, SBD, VOC, voc_labels, write_cityscapes, write_voc
from segvit.dataset_tools.preparation import prepare
from segvit.dataset_tools.preparation.benchmarks import ade20k, cityscapes, pascal_voc
from segvit.dataset_tools.preparation.command import run_command
from segvit.datasets import require_datasets
from segvit.datasets.benchmarks.cityscapes import CITYSCAPES_CLASSES, NAMES
from segvit.errors import UserError
from segvit.evaluation import SemSegConfusionEvaluator


@pytest.fixture(autouse=True)
def small_benchmarks(monkeypatch):
    monkeypatch.setattr(pascal_voc, "SIZES", {"train": 2, "trainaug": 5, "val": 1})
    monkeypatch.setattr(cityscapes, "SIZES", {"train": 3, "val": 1})
    monkeypatch.setattr(ade20k, "SIZES", {"training": 4, "validation": 2})


def test_voc_and_sbd_become_registered_datasets_with_void(tmp_path, monkeypatch):
    report = prepare(pascal_voc.find_pascal_voc(tmp_path, *write_voc(tmp_path)), workers=1)
    assert report.is_complete(), report.text()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    stems = {}
    for split in ("train", "trainaug", "val"):
        records = DatasetCatalog.get(f"voc_2012_sem_seg_{split}")
        stems[split] = [record["file_name"][-15:-4] for record in records]
        for stem, record in zip(stems[split], records):
            expected = voc_labels(stem)
            if stem not in IN_VOC:
                expected[0] = 20
            assert np.array_equal(np.asarray(Image.open(record["sem_seg_file_name"])), expected)
    assert stems == {**VOC, "trainaug": sorted({*VOC["train"], *SBD["train"], *SBD["val"]} - {*VOC["val"]})}
    assert MetadataCatalog.get("voc_2012_sem_seg_val").stuff_classes[15] == "person"
    report = diagnose("voc_2012_sem_seg")  # without train, which is a part of trainaug
    assert list(report.counts) == ["voc_2012_sem_seg_trainaug", "voc_2012_sem_seg_val"] and not report.has_errors


def test_voc_can_be_prepared_without_sbd(tmp_path):
    voc, _ = write_voc(tmp_path)
    report = prepare(pascal_voc.find_pascal_voc(tmp_path, voc, None), workers=1)
    assert report.is_complete() and [split.name for split in report.splits] == ["train", "val"]
    report = prepare(pascal_voc.find_pascal_voc(tmp_path, voc, tmp_path / "nowhere"), workers=1)
    assert not report.is_complete() and "--without-sbd" in report.text()


def test_sbd_files_of_another_structure_are_named(tmp_path):
    voc, sbd = write_voc(tmp_path)
    scipy.io.savemat(sbd / "cls" / "2008_000002.mat", {"GTcls": np.zeros((HEIGHT, WIDTH))})
    report = prepare(pascal_voc.find_pascal_voc(tmp_path, voc, sbd), workers=1)
    assert "2008_000002.mat: GTcls is not a structure with Segmentation" in report.text()


@pytest.fixture
def city(tmp_path):
    """Cityscapes' folder, and its validation split registered as Detectron2 registers it."""
    folder = write_cityscapes(tmp_path)
    image_dir, gt_dir = str(folder / "leftImg8bit" / "val"), str(folder / "gtFine" / "val")
    name = "cityscapes_replica_sem_seg_val"
    DatasetCatalog.register(name, lambda: load_cityscapes_semantic(image_dir, gt_dir))
    MetadataCatalog.get(name).set(
        image_dir=image_dir,
        gt_dir=gt_dir,
        evaluator_type="cityscapes_sem_seg",
        ignore_label=255,
        stuff_classes=MetadataCatalog.get(NAMES[0]).stuff_classes,
        stuff_colors=MetadataCatalog.get(NAMES[0]).stuff_colors,
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_detectron2_reads_the_prepared_cityscapes(city, tmp_path):
    with pytest.raises(UserError, match=r"labelTrainIds.*prepare"):
        require_datasets([city])
    assert dict(kinds(diagnose(city)))["missing_folder"] == "error"
    report = prepare(cityscapes.find_cityscapes(tmp_path), workers=1)
    assert report.is_complete(), report.text()
    assert [split.kept for split in prepare(cityscapes.find_cityscapes(tmp_path), workers=1).splits] == [3, 1]
    require_datasets([city])
    (record,) = DatasetCatalog.get(city)
    raw = blocks(range(34), 0)
    expected = np.full(raw.shape, 255)
    for train_id, (label_id, _) in enumerate(CITYSCAPES_CLASSES):
        expected[raw == label_id] = train_id
    assert np.array_equal(np.asarray(Image.open(record["sem_seg_file_name"])), expected)


def test_the_doctor_and_the_evaluator_read_cityscapes(city, tmp_path):
    prepare(cityscapes.find_cityscapes(tmp_path), workers=1)
    report = diagnose(city)
    assert not report.has_errors, report.findings
    assert report.counts[city].total == HEIGHT * WIDTH
    records = DatasetCatalog.get(city)
    evaluator = SemSegConfusionEvaluator(city, distributed=False)
    truth = np.asarray(Image.open(records[0]["sem_seg_file_name"])).astype(np.int64)
    evaluator.process(records, [{"sem_seg_labels": torch.from_numpy(np.where(truth == 255, 0, truth))}])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == 100


def test_a_frame_without_labels_is_named(tmp_path):
    folder = write_cityscapes(tmp_path)
    (folder / "gtFine" / "train" / "ulm" / "ulm_000000_000019_gtFine_labelIds.png").unlink()
    report = prepare(cityscapes.find_cityscapes(tmp_path), workers=1)
    assert "ulm_000000_000019_leftImg8bit.png: no file of this frame in" in report.text()
    assert not report.is_complete(allow_missing=True)


def test_ade20ks_full_set_is_refused_by_name(tmp_path, capsys):
    (tmp_path / "ADE20K_2021_17_01" / "images" / "ADE" / "training").mkdir(parents=True)
    with pytest.raises(SystemExit, match="2"):
        run_command(
            lambda options: ade20k.find_ade20k(options.root),
            parser=argparse.ArgumentParser(),
            arguments=["--root", str(tmp_path)],
        )
    message = capsys.readouterr().err
    assert "847 classes" in message and "ADEChallengeData2016.zip" in message
    for refuse in (diagnose, lambda target: require_datasets([target])):
        for target in (str(tmp_path / "ADE20K_2021_17_01"), "ade20k_full_sem_seg_train"):
            with pytest.raises(UserError, match="847 classes"):
                refuse(target)


def test_ids_of_ade20ks_full_set_are_named(tmp_path):
    folder = write_ade20k(tmp_path)
    labels = np.full((HEIGHT, WIDTH), 846, np.uint16)
    Image.fromarray(labels).save(folder / "annotations" / "training" / "ADE_train_00000002.png")
    report = prepare(ade20k.find_ade20k(tmp_path), workers=1)
    (problem,) = [problem for problem in report.problems if problem.path.name == "ADE_train_00000002.png"]
    assert "label ids 846" in problem.what and "847" in problem.what and "prepare_ade20k" in problem.what
