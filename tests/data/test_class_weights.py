"""MODEL.SEGVIT.CLASS_WEIGHTS: weights by name, counted weights, their file, and what is refused."""

import json
import weakref

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from PIL import Image

from helpers.toy_run import run, toy_run_cfg
from segvit.assembly.heads.class_weights import class_weights
from segvit.data import step_records
from segvit.data.class_weights import balanced_weights, with_counted_weights
from segvit.engine import Trainer
from segvit.errors import UserError
from segvit.modeling.losses.targets import MaskTargets

CLASSES = ["road", "pole", "sky", "car", "tree"]
# Pixels of each class in two label maps of 10 x 20; class 4 has none, and the rest is ignored.
PIXELS = ((90, 1, 16, 4, 0), (154, 0, 0, 0, 0))


@pytest.fixture
def cfg(tiny_cfg, tmp_path):
    """The tiny model on a dataset with these label maps."""
    for index, counts in enumerate(PIXELS):
        labels = np.repeat([0, 1, 2, 3, 4, 255], [*counts, 200 - sum(counts)]).astype(np.uint8)
        Image.fromarray(labels.reshape(10, 20)).save(tmp_path / f"{index}.png")
    name = f"weighted_{tmp_path.name}"
    files = [str(tmp_path / f"{index}.png") for index in range(len(PIXELS))]
    DatasetCatalog.register(name, lambda: [{"file_name": file, "sem_seg_file_name": file} for file in files])
    MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=255)
    tiny_cfg.DATASETS.TRAIN, tiny_cfg.OUTPUT_DIR = (name,), str(tmp_path / "run")
    yield tiny_cfg
    DatasetCatalog.remove(name)


def weights_in_model(cfg):
    return build_model(cfg).sem_seg_head.criterion.weights_by_class


def test_classes_count_alike_by_default(cfg):
    assert weights_in_model(with_counted_weights(cfg, resumes=False)) is None


def test_weights_are_given_by_name_or_id(cfg):
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = [["pole", 3.0], [3, 2]]
    assert weights_in_model(cfg) == (1.0, 3.0, 1.0, 2.0, 1.0)
    assert weights_in_model(with_counted_weights(cfg, resumes=False)) == (1.0, 3.0, 1.0, 2.0, 1.0)


def test_a_continual_group_has_the_weights_of_its_classes(cfg):
    cfg.MODEL.SEM_SEG_HEAD.NAME, cfg.MODEL.SEGVIT.OUTPUT = "ContinualHead", "diagonal"
    cfg.MODEL.SEGVIT.CONTINUAL.GROUPS, cfg.MODEL.SEGVIT.CONTINUAL.STEP = [["road", "sky"], ["car", "pole"]], 1
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = [["pole", 3.0], ["road", 0.5]]
    head = build_model(cfg).sem_seg_head
    assert head.criterion.weights_by_class == (1.0, 3.0)
    labels = torch.full((4, 4), 1)  # a pole, which is the second class of the group
    counts = head.loss_counts([MaskTargets(classes=torch.tensor([1]), labels=labels)])
    assert counts["loss_mask"] == 3.0 and counts["loss_ce"] == pytest.approx(3.0 + cfg.MODEL.SEGVIT.NO_OBJECT_WEIGHT)


def test_counted_weights_follow_the_pixels_of_the_training_labels(cfg):
    """Pixels 244, 1, 16, 4; the median is 10."""
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = ["auto"]
    expected = [0.5, 3.0, (10 / 16) ** 0.5, (10 / 4) ** 0.5, 1.0]
    assert weights_in_model(with_counted_weights(cfg, resumes=False)) == pytest.approx(expected)
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = ["auto", ["sky", 7.0]]
    assert weights_in_model(with_counted_weights(cfg, resumes=False))[2] == 7.0


def test_label_maps_are_counted_one_by_one(monkeypatch):
    """Results that wait for the main thread hold no label maps."""
    read = []

    def read_label_map(file):
        labels = np.full((4, 4), int(file), np.uint8)
        read.append(weakref.ref(labels))
        return labels

    def wait_for_all(results, **_):
        results = list(results)
        assert len(read) == 8 and not any(labels() is not None for labels in read)
        return results

    monkeypatch.setattr(step_records, "read_label_map", read_label_map)
    monkeypatch.setattr(step_records, "progress_bar", wait_for_all)
    records = [{"sem_seg_file_name": str(number % 4)} for number in range(8)]
    assert step_records.class_pixels(records, 3).tolist() == [32, 32, 32]


def test_only_new_classes_of_a_continual_step_are_counted(cfg):
    cfg.MODEL.SEGVIT.CONTINUAL.GROUPS, cfg.MODEL.SEGVIT.CONTINUAL.STEP = [["road", "sky"], ["car", "pole"]], 1
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = ["auto"]
    counted = class_weights(with_counted_weights(cfg, resumes=False))
    assert counted == pytest.approx([1.0, 2.5**0.5, 1.0, 0.625**0.5, 1.0])


def test_without_pixels_every_weight_is_one():
    assert balanced_weights([0, 0]) == [1.0, 1.0]


def test_a_resumed_run_keeps_its_counted_weights(cfg, tmp_path):
    """The labels change after the start: a new run would count other weights."""
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = ["auto"]
    first = class_weights(with_counted_weights(cfg, resumes=False))
    for file in tmp_path.glob("*.png"):
        Image.fromarray(np.full((10, 20), 2, np.uint8)).save(file)
    assert class_weights(with_counted_weights(cfg, resumes=True)) == first
    assert class_weights(with_counted_weights(cfg, resumes=False)) != first


def test_weights_have_no_part_in_inference_without_the_dataset(cfg):
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = ["auto", ["pole", 3.0]]
    cfg.DATASETS.TRAIN = ()
    assert weights_in_model(cfg) is None
    with pytest.raises(UserError, match="pole"):
        with_counted_weights(cfg, resumes=False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["pole"], "pairs"),
        ([["pole", 0.0]], "above 0"),
        ([["pole", "much"]], "pairs"),
        ([["Pole", 3.0]], r"\['Pole'\].*road"),
        ([[5, 3.0]], r"\[5\]"),
        ([["pole", 3.0], ["pole", 2.0]], "twice"),
        ([["pole", 3.0], [1, 2.0]], "twice"),
    ],
)
def test_wrong_weights_are_refused(value, message, cfg):
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = value
    with pytest.raises(UserError, match=rf"MODEL\.SEGVIT\.CLASS_WEIGHTS .*{message}"):
        class_weights(cfg)


def test_a_run_trains_with_counted_weights_and_resumes(toy_scenes, tmp_path):
    cfg = toy_run_cfg(tmp_path, SOLVER__MAX_ITER=2, TEST__EVAL_PERIOD=0, MODEL__SEGVIT__CLASS_WEIGHTS=["auto"])
    trainer = run(cfg, resume=False)
    written = json.loads((tmp_path / "class_weights.json").read_text())
    assert trainer.model.sem_seg_head.criterion.weights_by_class == tuple(entry["weight"] for entry in written)
    assert len({entry["weight"] for entry in written}) > 2
    cfg.SOLVER.MAX_ITER = 4
    run(cfg, resume=True)
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = []
    with pytest.raises(UserError, match=r"MODEL\.SEGVIT\.CLASS_WEIGHTS"):
        Trainer(cfg).resume_or_load(resume=True)


@pytest.mark.parametrize("text", ["", "[{}]", "[1]"])
def test_a_damaged_file_of_counted_weights_is_named_when_a_run_resumes(cfg, tmp_path, text):
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = ["auto"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "class_weights.json").write_text(text)
    with pytest.raises(UserError, match=r"class_weights\.json is damaged: delete it"):
        with_counted_weights(cfg, resumes=True)


def test_an_infinite_weight_is_refused(cfg):
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = [["pole", float("inf")]]
    with pytest.raises(UserError, match=r"MODEL\.SEGVIT\.CLASS_WEIGHTS .* above 0"):
        class_weights(cfg)
