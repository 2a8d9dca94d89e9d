"""Datasets "hf:PATH:SPLIT" from local folders: records, classes, training samples and evaluation; the doctor.

Shape shorthand: H x W pixels of an image.
"""

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from helpers.doctor import diagnose
from helpers.repository import CONFIGS, PROJECT
from helpers.scripts import load_script
from segvit.config.loading import load_config
from segvit.data import SegViTSemanticDatasetMapper
from segvit.data.label_reading import read_label_map
from segvit.data.step_records import class_pixels, classes_present
from segvit.data.train_loader import build_train_loader
from segvit.datasets import require_datasets
from segvit.errors import UserError
from segvit.evaluation import SemSegConfusionEvaluator
from segvit.image_reading import read_image

hf = pytest.importorskip("datasets")
TOOL = load_script(PROJECT / "tools" / "check_dataset.py")
NAMES = ["grass", "road", "sky"]
HEIGHT, WIDTH = 24, 32


def image_and_labels(seed):
    generator = np.random.default_rng(seed)
    labels = generator.choice([0, 1, 2, 255], (HEIGHT // 4, WIDTH // 4)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    return generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), labels


def table(count, first=0, shift=0):
    """A table of `count` images; label maps are PNGs of the mode "L", ids plus `shift`."""
    rows = [image_and_labels(first + index) for index in range(count)]
    content = {
        "image": [Image.fromarray(image) for image, _ in rows],
        "annotation": [Image.fromarray((labels + np.uint8(shift)).astype(np.uint8)) for _, labels in rows],
        "classes": [[0, 1, 2]] * count,
    }
    features = {"image": hf.Image(), "annotation": hf.Image(), "classes": hf.Sequence(hf.ClassLabel(names=NAMES))}
    return hf.Dataset.from_dict(content, features=hf.Features(features))


@pytest.fixture(params=["save_to_disk", "parquet"])
def folder(request, tmp_path, monkeypatch):
    """A folder with the splits train (3 images) and validation (2)."""
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    splits = hf.DatasetDict(train=table(3), validation=table(2, first=3))
    target = tmp_path / "dataset"
    if request.param == "save_to_disk":
        splits.save_to_disk(str(target))
    else:
        for name, split in splits.items():
            (target / "data").mkdir(parents=True, exist_ok=True)
            split.to_parquet(str(target / "data" / f"{name}-00000-of-00001.parquet"))
    yield target
    for name in DatasetCatalog.list():
        if name.startswith("hf:"):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def config(folder, *opts):
    splits = [f"hf:{folder}:{split}" for split in ("train", "validation")]
    datasets = ["DATASETS.TRAIN", f"('{splits[0]}',)", "DATASETS.TEST", f"('{splits[1]}',)"]
    small = ["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 1, "SOLVER.IMS_PER_BATCH", 3]
    return load_config(CONFIGS / "custom" / "segvit_scratch_320x240.yaml", [*datasets, *small, *opts])


def test_records_classes_and_pixels_are_those_of_the_tables(folder):
    cfg = config(folder)
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3
    seed = 0
    for name, count in ((cfg.DATASETS.TRAIN[0], 3), (cfg.DATASETS.TEST[0], 2)):
        records = DatasetCatalog.get(name)
        assert len(records) == count and MetadataCatalog.get(name).stuff_classes == NAMES
        for record in records:
            image, labels = image_and_labels(seed)
            assert np.array_equal(read_image(record["file_name"], format="RGB"), image)
            assert np.array_equal(read_label_map(record["sem_seg_file_name"]), labels)
            seed += 1
    assert class_pixels(records, 3).sum() == sum((image_and_labels(seed)[1] != 255).sum() for seed in (3, 4))
    assert [ids.tolist() for ids in classes_present(records)] == [[0, 1, 2, 255]] * 2


def test_workers_train_on_it_and_the_evaluator_reads_it(folder, tmp_path):
    cfg = config(folder)
    batch = next(iter(build_train_loader(cfg, SegViTSemanticDatasetMapper(cfg, is_train=True))))
    assert len(batch) == 3 and all(set(sample["sem_seg_ids"].tolist()) <= {0, 1, 2, 255} for sample in batch)
    (name,) = cfg.DATASETS.TEST
    evaluator = SemSegConfusionEvaluator(name, distributed=False, output_dir=str(tmp_path), save_predictions=True)
    for record in DatasetCatalog.get(name):
        truth = torch.from_numpy(read_label_map(record["sem_seg_file_name"]).astype(np.int64))
        evaluator.process([record], [{"sem_seg_labels": torch.where(truth == 255, 0, truth)}])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == 100
    assert sorted(path.name for path in (tmp_path / "predictions" / "labels").iterdir()) == ["000000.png", "000001.png"]


def test_the_doctor_reads_it(folder):
    (name,) = config(folder).DATASETS.TRAIN
    report = diagnose(name)
    assert not report.has_errors and report.counts[name].total == 3 * HEIGHT * WIDTH


def test_classes_come_from_a_json_and_ids_can_be_reduced(tmp_path):
    table(2, shift=1).remove_columns("classes").save_to_disk(str(tmp_path / "dataset"))
    name = f"hf:{tmp_path / 'dataset'}:train"
    opts = ["DATASETS.TEST", "()", "DATASETS.HF_REDUCE_LABELS", True]
    with pytest.raises(UserError, match=r"does not name its classes: set DATASETS\.HF_CLASSES"):
        config(tmp_path / "dataset", *opts)
    (tmp_path / "id2label.json").write_text(json.dumps({str(index): name for index, name in enumerate(NAMES)}))
    cfg = config(tmp_path / "dataset", *opts, "DATASETS.HF_CLASSES", str(tmp_path / "id2label.json"))
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3 and MetadataCatalog.get(name).stuff_classes == NAMES
    for seed, record in enumerate(DatasetCatalog.get(name)):
        assert np.array_equal(read_label_map(record["sem_seg_file_name"]), image_and_labels(seed)[1])
    (tmp_path / "id2label.json").write_text('{"0": "a", "2": "b"}')
    with pytest.raises(UserError, match=r"id2label\.json must map the ids"):
        config(tmp_path / "dataset", *opts, "DATASETS.HF_CLASSES", str(tmp_path / "id2label.json"))


@pytest.mark.parametrize(
    ("name", "opts", "message"),
    [
        ("hf:FOLDER:test", [], "no dataset of save_to_disk and no Parquet file test"),
        ("hf:FOLDER", [], "must be hf:PATH_OR_NAME:SPLIT"),
        ("hf:FOLDER:train", ["DATASETS.HF_COLUMNS", "['image', 'mask']"], r"'mask' holds no images.*HF_COLUMNS"),
        ("hf:FOLDER:train", ["DATASETS.HF_COLUMNS", "['image']"], "two columns"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, monkeypatch, name, opts, message):
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    table(1).to_parquet(str(tmp_path / "train-0.parquet"))
    name = name.replace("FOLDER", str(tmp_path)) if name.count(":") > 1 else "hf:nothing"
    with pytest.raises(UserError, match=message):
        config(tmp_path, "DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", "()", *opts)


def test_check_dataset_reads_splits_and_names_the_rows_of_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    splits = hf.DatasetDict(train=table(3, shift=1), validation=table(2, first=3, shift=1))
    splits = splits.rename_columns({"image": "pixels", "annotation": "mask"})
    splits.save_to_disk(str(tmp_path / "dataset"))
    target, columns = f"hf:{tmp_path / 'dataset'}:train,validation", ("--hf-columns", "pixels", "mask")
    report = ("--output", str(tmp_path / "report"), "--workers", "1")
    assert TOOL.main([target, *columns, "--hf-reduce-labels", *report]) == 0
    splits_found = json.loads((tmp_path / "report" / "report.json").read_text())["splits"]
    assert [len(split) > 0 for split in splits_found] == [True, True]
    assert (tmp_path / "report" / "contact_sheet.png").is_file()
    assert TOOL.main([target, *columns, *report]) == 1  # ids from 1 to 3, of three classes
    assert "HF_REDUCE_LABELS" in (tmp_path / "report" / "report.json").read_text()
    table(2, shift=5).save_to_disk(str(tmp_path / "wrong"))
    assert TOOL.main([f"hf:{tmp_path / 'wrong'}:train", *report]) == 1
    assert "000001.png: ids" in (tmp_path / "report" / "report.json").read_text()
    for options in (["--convert-to", str(tmp_path / "new")], ["--hf-columns", "pixels", "none"]):
        with pytest.raises(SystemExit, match="2"):
            TOOL.main([target, *options, *report])
    with pytest.raises(SystemExit, match="2"):
        TOOL.main([str(tmp_path), "--hf-reduce-labels", *report])


def test_a_model_with_its_number_of_classes_does_not_open_the_dataset(tmp_path):
    cfg = config(tmp_path / "nowhere", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 3)
    with pytest.raises(UserError, match="nowhere"):
        require_datasets([*cfg.DATASETS.TRAIN])
