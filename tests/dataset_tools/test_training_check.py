"""Before its first iteration, training warns of the same faults as the doctor; so does evaluation of its metrics."""

import logging

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from helpers.doctor import diagnose, kinds
from helpers.folders import edit, write_folder
from segvit.dataset_tools.doctor.training_check import check_before_training, require_known_ids
from segvit.datasets import register_folder
from segvit.engine.preflight import preflight
from segvit.errors import UserError
from segvit.evaluation import SemSegConfusionEvaluator
from segvit.images import ImageFormat


@pytest.fixture
def folder(tmp_path, tiny_cfg):
    yield write_folder(tmp_path / "mine")
    for name in [name for name in DatasetCatalog.list() if name.startswith("folder_")]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def cfg(folder, tiny_cfg):
    tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATASETS.TEST = ("folder_train",), ("folder_val",)
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    register_folder(folder)
    return tiny_cfg


def change_all(folder, change, splits="*"):
    for path in sorted(folder.glob(f"annotations/{splits}/*.png")):
        edit(path, change)


def binary(labels):
    return np.where(labels == 1, 255, 0).astype(np.uint8)


def darken(folder):
    for path in sorted(folder.glob("images/*/*")):
        with Image.open(path) as image:
            levels = np.array(image.convert("L")).astype(np.uint16) * 16
        path.unlink()
        Image.fromarray(levels).save(path.with_suffix(".png"))


FAULTS = {
    "ignored_foreground": lambda folder: change_all(folder, binary),
    "unlabelled": lambda folder: change_all(folder, lambda labels: np.full_like(labels, 255)),
    "single_class": lambda folder: change_all(folder, lambda labels: np.where(labels < 255, 2, 255).astype(np.uint8)),
    "colored_label_map": lambda folder: change_all(folder, lambda labels: np.stack([labels] * 3, axis=-1)),
    "shifted_ids": lambda folder: change_all(
        folder, lambda labels: np.where(labels < 255, labels + 1, 255).astype("u1")
    ),
    "dark_images": darken,
}


@pytest.mark.parametrize("kind", ["colored_label_map", "shifted_ids"])
def test_nothing_is_deleted_for_a_training_that_its_first_label_maps_would_end(folder, cfg, kind):
    require_known_ids(cfg)
    FAULTS[kind](folder)
    with pytest.raises(UserError, match="nothing deleted"):
        require_known_ids(cfg)


@pytest.mark.parametrize("kind", FAULTS)
def test_training_warns_of_what_the_doctor_finds(folder, cfg, kind, caplog):
    FAULTS[kind](folder)
    assert kind in [found for found, _ in kinds(diagnose(folder))]
    with caplog.at_level(logging.WARNING, logger="segvit"):
        findings = check_before_training(cfg)
    assert kind in [finding.kind for finding in findings]
    assert kind in caplog.text and "check_dataset.py" in caplog.text


def test_one_class_in_validation_is_reported(folder, cfg):
    change_all(folder, lambda labels: np.where(labels < 255, 0, 255).astype(np.uint8), splits="val")
    (finding,) = check_before_training(cfg)
    assert (finding.kind, finding.split) == ("single_class", "folder_val") and "0 grass" in finding.message


def test_sound_datasets_give_no_warning(folder, cfg, caplog):
    with caplog.at_level(logging.WARNING, logger="segvit"):
        assert check_before_training(cfg) == []
    assert not caplog.text


def test_max_level_removes_the_warning(folder, cfg):
    darken(folder)
    cfg.INPUT.MAX_LEVEL = 4095
    assert check_before_training(cfg) == []


@pytest.mark.parametrize("max_level, severity", [(0, "error"), (16383, "warning"), (100, "error"), (4095, None)])
def test_the_doctor_reports_levels_in_a_small_part_of_the_range(folder, max_level, severity):
    from segvit.dataset_tools.doctor import check_dataset, open_dataset

    darken(folder)
    report = check_dataset(
        open_dataset(str(folder)), workers=1, image_format=ImageFormat(max_level=max_level), progress=False
    )
    kind = "white_images" if max_level == 100 else "dark_images"
    levels = [finding for finding in report.findings if finding.kind == kind]
    assert [finding.severity for finding in levels] == ([severity] * 2 if severity else [])
    assert all("INPUT.MAX_LEVEL" in finding.message for finding in levels)


def test_images_of_8_bits_that_are_almost_black_are_reported(folder):
    for path in sorted(folder.glob("images/val/*")):
        path.unlink()
        rows = np.random.default_rng(path.stat().st_size if path.exists() else ord(path.stem)).integers(
            0, 4, (24, 32, 3)
        )
        Image.fromarray(rows.astype(np.uint8)).save(path.with_suffix(".png"))
    assert kinds(diagnose(folder)) == [("dark_images", "error")]


def test_one_class_is_refused(tiny_cfg, folder):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 1
    with pytest.raises(UserError, match=r"NUM_CLASSES is 1.*background"):
        preflight(tiny_cfg, trains=True)
    (folder / "classes.json").unlink()
    (folder / "classes.txt").write_text("crack\n")
    assert ("one_class", "error") in kinds(diagnose(folder))


@pytest.mark.parametrize("label, message", [(1, "'road'"), (255, "no labelled pixel")])
def test_evaluation_warns_of_meaningless_metrics(folder, cfg, caplog, label, message):
    change_all(folder, lambda labels: np.full_like(labels, label))
    evaluator = SemSegConfusionEvaluator("folder_val", distributed=False)
    records = DatasetCatalog.get("folder_val")
    evaluator.process(records, [{"sem_seg_labels": torch.ones(24, 32, dtype=torch.int64)} for _ in records])
    with caplog.at_level(logging.WARNING, logger="segvit"):
        evaluator.evaluate()
    assert message in caplog.text and "check_dataset.py" in caplog.text
