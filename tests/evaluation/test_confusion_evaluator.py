"""The confusion evaluator against Detectron2's own, its errors, and its merge over processes."""

import json
import logging
import math
import uuid

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from PIL import Image

from helpers.processes import run_in_two_processes
from segvit.data.label_reading import Relabelling
from segvit.evaluation import SemSegConfusionEvaluator

CLASSES = ["sky", "tree", "pole", "never"]
IGNORE = 255
SIZES = [(12, 9), (7, 20), (16, 16)]


def make_dataset(folder, *, name="confusion_test", metadata=None):
    """Random label maps without the last class, some pixels ignored; registered as a dataset. Returns the records."""
    rng = np.random.default_rng(0)
    records = []
    for i, size in enumerate(SIZES):
        labels = rng.choice([0, 1, 2, IGNORE], size=size, p=[0.5, 0.3, 0.1, 0.1]).astype(np.uint8)
        path = folder / f"{i}.png"
        Image.fromarray(labels).save(path)
        records.append({"file_name": str(folder / f"{i}.jpg"), "sem_seg_file_name": str(path), "image_id": i})
    name = f"{name}_{uuid.uuid4().hex}"
    DatasetCatalog.register(name, lambda: records)
    default = {"stuff_classes": CLASSES, "ignore_label": IGNORE}
    MetadataCatalog.get(name).set(**(default if metadata is None else metadata))
    return name, records


def random_outputs():
    generator = torch.Generator().manual_seed(0)
    return [{"sem_seg": torch.randn(len(CLASSES), *size, generator=generator)} for size in SIZES]


def read_labels(path, dtype):  # Detectron2 0.6's own reader fails with NumPy 2
    return np.array(Image.open(path)).astype(dtype)


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path)


def test_equals_detectron2(dataset):
    name, records = dataset
    ours = SemSegConfusionEvaluator(name, distributed=False)
    detectron2 = SemSegEvaluator(name, distributed=False, sem_seg_loading_fn=read_labels)
    detectron2.reset()
    for record, output in zip(records, random_outputs()):
        ours.process([record], [output])
        detectron2.process([record], [output])
    got = ours.evaluate()["sem_seg"]
    expected = {k: v for k, v in detectron2.evaluate()["sem_seg"].items() if not k.startswith(("Boundary", "min("))}
    assert list(got) == list(expected)
    assert math.isnan(got["IoU-never"])
    np.testing.assert_allclose(list(got.values()), list(expected.values()), rtol=0, atol=1e-6)


def test_finds_ground_truth_by_image_name(dataset):
    name, records = dataset
    by_record, by_name = (SemSegConfusionEvaluator(name, distributed=False) for _ in range(2))
    by_record.process(records, random_outputs())
    by_name.process([{"file_name": record["file_name"]} for record in records], random_outputs())
    assert torch.equal(by_record.confusion_matrix, by_name.confusion_matrix)
    assert by_record.confusion_matrix.sum() == sum(
        (read_labels(r["sem_seg_file_name"], int) < 255).sum() for r in records
    )
    with pytest.raises(ValueError, match=r"elsewhere\.jpg: no ground truth"):
        by_name.process([{"file_name": "elsewhere.jpg"}], random_outputs()[:1])


def test_reset_discards_all_counts(dataset):
    name, records = dataset
    evaluator = SemSegConfusionEvaluator(name, distributed=False)
    evaluator.process(records, random_outputs())
    evaluator.reset()
    assert evaluator.confusion_matrix.sum() == 0
    with pytest.raises(ValueError, match="no image of dataset"):
        evaluator.evaluate()


@pytest.mark.parametrize("missing", ["stuff_classes", "ignore_label"])
def test_missing_metadata_are_named(tmp_path, missing):
    metadata = {"stuff_classes": CLASSES, "ignore_label": IGNORE}
    del metadata[missing]
    name, _ = make_dataset(tmp_path, metadata=metadata)
    with pytest.raises(ValueError, match=missing):
        SemSegConfusionEvaluator(name)


def test_labels_and_their_scores_give_equal_metrics(dataset):
    name, records = dataset
    by_scores, by_labels = (SemSegConfusionEvaluator(name, distributed=False) for _ in range(2))
    by_scores.process(records, random_outputs())
    by_labels.process(records, [{"sem_seg_labels": output["sem_seg"].argmax(0)} for output in random_outputs()])
    assert torch.equal(by_scores.confusion_matrix, by_labels.confusion_matrix)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(12, 10, dtype=torch.int64), r"0\.png: .*\(12, 10\).* \(12, 9\)"),
        (torch.full((12, 9), 4), r"0\.png: the predicted ids 4 to 4 are not all in 0\.\.3"),
        (torch.full((12, 9), -1), r"0\.png: the predicted ids -1 to -1 are not all in 0\.\.3"),
    ],
)
def test_wrong_labels_name_the_file(dataset, labels, message):
    name, records = dataset
    with pytest.raises(ValueError, match=message):
        SemSegConfusionEvaluator(name, distributed=False).process(records[:1], [{"sem_seg_labels": labels}])


def test_boundary_iou_is_reported_with_the_other_metrics(dataset, caplog):
    name, records = dataset
    plain = SemSegConfusionEvaluator(name, distributed=False)
    plain.process(records, random_outputs())
    bounded = SemSegConfusionEvaluator(name, distributed=False, with_boundary_iou=True)
    bounded.process(records, random_outputs())
    with caplog.at_level(logging.INFO):
        expected, got = plain.evaluate()["sem_seg"], bounded.evaluate()["sem_seg"]
    assert {k: v for k, v in got.items() if "Boundary" not in k} == pytest.approx(expected, nan_ok=True)
    added = [got[f"BoundaryIoU-{label}"] for label in CLASSES]
    assert got["mBoundaryIoU"] == pytest.approx(np.mean(added[:3])) and math.isnan(added[3])
    without, with_column = caplog.messages
    assert "boundary IoU" in with_column and f"mBoundaryIoU {got['mBoundaryIoU']:.2f}" in with_column
    assert "oundary" not in without
    bounded.reset()
    bounded.process(records[:1], random_outputs()[:1])
    assert bounded.evaluate()["sem_seg"]["mBoundaryIoU"] != got["mBoundaryIoU"]


@pytest.mark.parametrize("colors", [None, [(9, 8, 7), (1, 1, 1), (2, 2, 2), (3, 3, 3)]])
def test_predictions_are_saved_as_labels_and_colors(tmp_path, colors):
    metadata = {"stuff_classes": CLASSES, "ignore_label": IGNORE} | ({"stuff_colors": colors} if colors else {})
    name, records = make_dataset(tmp_path, metadata=metadata)
    folder = tmp_path / "output"
    evaluator = SemSegConfusionEvaluator(name, distributed=False, output_dir=str(folder), save_predictions=True)
    outputs = random_outputs()
    evaluator.process(records, outputs)
    for index, output in enumerate(outputs):
        labels = output["sem_seg"].argmax(0).numpy()
        assert np.array_equal(np.array(Image.open(folder / f"predictions/labels/{index}.png")), labels)
        colored = np.array(Image.open(folder / f"predictions/colors/{index}.png"))
        assert len(np.unique(colored.reshape(-1, 3), axis=0)) == len(np.unique(labels))
        assert colors is None or (colored[labels == 0] == colors[0]).all()
    with pytest.raises(ValueError, match="save_predictions needs an output_dir"):
        SemSegConfusionEvaluator(name, save_predictions=True)


def test_colors_belong_to_names_not_to_ids(tmp_path):
    """A model with class names of its own: the ids differ, and it has a class that the dataset lacks."""
    colors = [(9, 8, 7), (1, 1, 1), (2, 2, 2), (3, 3, 3)]
    name, records = make_dataset(
        tmp_path, metadata={"stuff_classes": CLASSES, "ignore_label": IGNORE, "stuff_colors": colors}
    )
    evaluator = SemSegConfusionEvaluator(
        name,
        distributed=False,
        output_dir=str(tmp_path),
        save_predictions=True,
        class_names=["new", *reversed(CLASSES)],
        relabelling=Relabelling(np.array([4, 3, 2, 1]), ignore_value=IGNORE),
    )
    labels = torch.arange(12 * 9).reshape(12, 9) % 5
    evaluator.process(records[:1], [{"sem_seg_labels": labels}])
    colored = np.array(Image.open(tmp_path / "predictions/colors/0.png"))
    for index, color in enumerate(reversed(colors), 1):
        assert (colored[labels == index] == color).all()
    assert tuple(colored[0, 0]) not in colors


def test_classes_with_the_same_name_are_refused(tmp_path):
    name, _ = make_dataset(tmp_path, metadata={"stuff_classes": ["sky", "tree", "sky"], "ignore_label": IGNORE})
    with pytest.raises(ValueError, match="'sky'"):
        SemSegConfusionEvaluator(name)


def test_a_prediction_of_another_size_names_the_file(dataset):
    name, records = dataset
    evaluator = SemSegConfusionEvaluator(name, distributed=False)
    for shape in [(4, 12, 10), (5, 12, 9)]:
        with pytest.raises(ValueError, match=r"^\S*0\.png: .*shape"):
            evaluator.process(records[:1], [{"sem_seg": torch.zeros(shape)}])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((12, 9), 4, np.uint8), r"0\.png: label ids 4 are"),
        (np.zeros((12, 9, 3), np.uint8), r"0\.png: the label map has 3 channels"),
    ],
)
def test_an_invalid_label_map_names_the_file(dataset, labels, message):
    name, records = dataset
    Image.fromarray(labels).save(records[0]["sem_seg_file_name"])
    evaluator = SemSegConfusionEvaluator(name, distributed=False)
    with pytest.raises(ValueError, match=message):
        evaluator.process(records[:1], random_outputs()[:1])


def test_metrics_of_ignored_pixels_are_nan(dataset):
    name, records = dataset
    Image.fromarray(np.full((12, 9), IGNORE, np.uint8)).save(records[0]["sem_seg_file_name"])
    evaluator = SemSegConfusionEvaluator(name, distributed=False)
    evaluator.process(records[:1], random_outputs()[:1])
    assert all(math.isnan(value) for value in evaluator.evaluate()["sem_seg"].values())


def test_metrics_are_written_to_the_output_dir(dataset, tmp_path):
    name, records = dataset
    evaluator = SemSegConfusionEvaluator(name, distributed=False, output_dir=str(tmp_path / "inference"))
    evaluator.process(records, random_outputs())
    metrics = evaluator.evaluate()["sem_seg"]
    report = json.loads((tmp_path / "inference" / "sem_seg_evaluation.json").read_text())
    assert report["metrics"]["mIoU"] == metrics["mIoU"]
    assert report["metrics"]["IoU-never"] is None
    assert report["confusion_matrix"] == evaluator.confusion_matrix.tolist()


def evaluate_half(rank, folder, name, records):
    """Process `rank` of two evaluates the images rank, rank + 2, ...; writes the result of `evaluate`."""
    MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=IGNORE)
    evaluator = SemSegConfusionEvaluator(name, with_boundary_iou=True)
    evaluator.process(records[rank::2], random_outputs()[rank::2])
    torch.save(evaluator.evaluate(), folder / f"rank{rank}.pt")


@pytest.mark.slow
def test_two_processes_equal_one(dataset, tmp_path):
    name, records = dataset
    single_process = SemSegConfusionEvaluator(name, distributed=False, with_boundary_iou=True)
    single_process.process(records, random_outputs())
    run_in_two_processes(evaluate_half, tmp_path, name, records)
    merged, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in range(2))
    assert other is None
    np.testing.assert_equal(merged, single_process.evaluate())
