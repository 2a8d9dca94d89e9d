"""Property tests of the evaluator: metrics of any label maps equal counts of pixels, in any order.

Shape shorthand: H x W pixels, K classes.
"""

import math
import uuid

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import IGNORED, label_maps

from segvit.evaluation import SemSegConfusionEvaluator

CLASSES = ["sky", "road", "pole", "never"]


@pytest.fixture
def dataset():
    name = f"any_labels_{uuid.uuid4().hex}"
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=IGNORED)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@st.composite
def truth_and_prediction(draw):
    """A label map (H, W) without the last class, and a prediction of the same size from all classes."""
    truth = draw(label_maps(len(CLASSES) - 1))
    predicted = draw(label_maps(len(CLASSES), size=truth.shape))
    return truth, np.where(predicted == IGNORED, 0, predicted)


def write(folder, pairs):
    """Inputs and outputs of an evaluator: label maps as files, predictions alternately as labels and scores."""
    inputs, outputs = [], []
    for index, (truth, predicted) in enumerate(pairs):
        path = folder / f"{index}.png"
        Image.fromarray(truth).save(path)
        inputs.append({"file_name": f"{index}.jpg", "sem_seg_file_name": str(path)})
        labels = torch.from_numpy(predicted).long()
        scores = torch.nn.functional.one_hot(labels, len(CLASSES)).permute(2, 0, 1).float()
        outputs.append({"sem_seg_labels": labels} if index % 2 else {"sem_seg": scores})
    return inputs, outputs


def metrics_by_counting(pairs):
    """IoU per class and pixel accuracy in per cent, by sets of pixels; NaN for absent classes."""
    truth, predicted = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    truth, predicted = truth[truth != IGNORED], predicted[truth != IGNORED]
    values = {}
    for index, name in enumerate(CLASSES):
        is_class = truth == index
        is_predicted = predicted == index
        intersection, union = (is_class & is_predicted).sum(), (is_class | is_predicted).sum()
        values[f"IoU-{name}"] = 100 * intersection / union if is_class.any() else math.nan
    values["pACC"] = 100 * (truth == predicted).mean() if truth.size else math.nan
    return values


@settings(max_examples=40)
@given(pairs=st.lists(truth_and_prediction(), min_size=1, max_size=3), data=st.data())
def test_metrics_equal_counts_of_pixels_in_any_order(dataset, tmp_path, pairs, data):
    inputs, outputs = write(tmp_path, pairs)
    evaluator = SemSegConfusionEvaluator(dataset, distributed=False, with_boundary_iou=True)
    evaluator.process(inputs, outputs)
    metrics = evaluator.evaluate()["sem_seg"]
    for name, value in metrics_by_counting(pairs).items():
        assert metrics[name] == pytest.approx(value, nan_ok=True), name
    assert evaluator.confusion_matrix.sum() == sum((truth != IGNORED).sum() for truth, _ in pairs)
    present = [metrics[f"IoU-{name}"] for name in CLASSES if not math.isnan(metrics[f"IoU-{name}"])]
    assert metrics["mIoU"] == pytest.approx(np.mean(present) if present else math.nan, nan_ok=True)
    for name, value in metrics.items():
        assert math.isnan(value) or 0 <= value <= 100, name

    again = SemSegConfusionEvaluator(dataset, distributed=False, with_boundary_iou=True)
    for index in data.draw(st.permutations(range(len(pairs)))):
        again.process([inputs[index]], [outputs[index]])
    np.testing.assert_equal(again.evaluate()["sem_seg"], metrics)


@settings(max_examples=40)
@given(pair=truth_and_prediction())
def test_the_ground_truth_as_prediction_is_perfect(dataset, tmp_path, pair):
    truth, _ = pair
    inputs, outputs = write(tmp_path, [(truth, np.where(truth == IGNORED, 0, truth))])
    evaluator = SemSegConfusionEvaluator(dataset, distributed=False, with_boundary_iou=True)
    evaluator.process(inputs, outputs)
    metrics = evaluator.evaluate()["sem_seg"]
    labelled = (truth != IGNORED).any()
    for name in ("mIoU", "pACC", "mACC", "fwIoU"):
        assert metrics[name] == pytest.approx(100) if labelled else math.isnan(metrics[name]), name
