"""Class names in checkpoints: they are compared with those of the datasets in evaluation, prediction and training."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.checkpoint.run_record import RunRecord
from segvit.engine.preflight import require_same_classes
from segvit.errors import UserError
from segvit.inference import SegViTPredictor

NAMES = ["road", "sky", "car", "tree", "person"]
SWAPPED = ["road", "car", "sky", "tree", "person"]
OTHER = ["road", "sky", "car", "tree", "rider"]


@pytest.fixture
def dataset(tmp_path):
    """Register datasets of given class names."""
    registered = []

    def register(names):
        name = f"{tmp_path.name}_{len(registered)}"
        DatasetCatalog.register(name, list)
        MetadataCatalog.get(name).set(stuff_classes=names, ignore_label=255)
        registered.append(name)
        return name

    yield register
    for name in registered:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def checkpoint(tiny_cfg, tmp_path, dataset):
    """Write a checkpoint of a run on a dataset of `NAMES`, with or without the record of newer versions."""

    def write(*, with_record=True):
        tiny_cfg.DATASETS.TRAIN = (dataset(NAMES),)
        torch.manual_seed(0)
        record = RunRecord.of(tiny_cfg) if with_record else None
        SegViTCheckpointer(build_model(tiny_cfg), str(tmp_path), run=record).save("model")
        return str(tmp_path / "model.pth")

    return write


def evaluate(cfg, path):
    SegViTCheckpointer(build_model(cfg), run=RunRecord.of(cfg, datasets=cfg.DATASETS.TEST)).load(path)


def predict(cfg, path):
    SegViTPredictor(cfg, path)(np.zeros((32, 48, 3), np.uint8))


@pytest.mark.parametrize("use", [evaluate, predict])
@pytest.mark.parametrize(
    ("names", "difference"), [(SWAPPED, "id 1 is 'sky' there and 'car' here"), (OTHER, "id 4 is 'person' there")]
)
def test_other_names_are_refused_with_the_first_difference(use, names, difference, checkpoint, dataset, tiny_cfg):
    path = checkpoint()
    tiny_cfg.DATASETS.TEST = (dataset(names),)
    with pytest.raises(UserError, match=difference) as error:
        use(tiny_cfg, path)
    assert path in str(error.value) and "classes.txt" in str(error.value)


@pytest.mark.parametrize("use", [evaluate, predict])
def test_equal_names_and_files_without_a_record_are_accepted(use, checkpoint, dataset, tiny_cfg):
    path = checkpoint()
    tiny_cfg.DATASETS.TEST = (dataset(NAMES),)
    use(tiny_cfg, path)
    path = checkpoint(with_record=False)
    tiny_cfg.DATASETS.TEST = (dataset(SWAPPED),)
    use(tiny_cfg, path)


def test_a_dataset_that_is_not_on_this_machine_is_not_compared(checkpoint, tiny_cfg):
    path = checkpoint()
    tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATASETS.TEST = ("elsewhere_train",), ("elsewhere_val",)
    predict(tiny_cfg, path)


def test_datasets_of_one_config_have_one_order_of_classes(dataset, tiny_cfg):
    """Otherwise training and evaluation would use different ids for a class."""
    tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATASETS.TEST = (dataset(NAMES),), (dataset(SWAPPED),)
    with pytest.raises(UserError, match="id 1 is 'sky' in the first and 'car' in the second"):
        require_same_classes(tiny_cfg)
    tiny_cfg.DATASETS.TEST = (dataset(NAMES),)
    require_same_classes(tiny_cfg)
