"""The confusion evaluator against Detectron2's own, its errors, and its merge over processes."""

import json
import math
import uuid

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from PIL import Image
from two_processes import run_in_two_processes

from segvit.evaluation import SemSegConfusionEvaluator
from segvit.evaluation.confusion_evaluator import winning_classes

CLASSES = ["sky", "tree", "pole", "never"]
IGNORE = 255
SIZES = [(12, 9), (7, 20), (16, 16)]


def make_dataset(folder, *, name="confusion_test", metadata=None):
    """Random label maps without the last class, some pixels ignored; registered anew. Returns the records."""
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
    theirs = SemSegEvaluator(name, distributed=False, sem_seg_loading_fn=read_labels)
    theirs.reset()
    for record, output in zip(records, random_outputs()):
        ours.process([record], [output])
        theirs.process([record], [output])
    got = ours.evaluate()["sem_seg"]
    expected = {k: v for k, v in theirs.evaluate()["sem_seg"].items() if not k.startswith(("Boundary", "min("))}
    assert list(got) == list(expected)
    assert math.isnan(got["IoU-never"])
    np.testing.assert_allclose(list(got.values()), list(expected.values()), rtol=0, atol=1e-6)


def test_winning_classes_equal_argmax():
    scores = torch.randint(0, 4, (9, 13, 11), generator=torch.Generator().manual_seed(0)).float()  # many ties
    expected = (scores == scores.amax(dim=0)).int().argmax(dim=0)  # the first of the highest
    assert torch.equal(winning_classes(scores), expected)


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


def test_reset_forgets(dataset):
    name, records = dataset
    evaluator = SemSegConfusionEvaluator(name, distributed=False)
    evaluator.process(records, random_outputs())
    evaluator.reset()
    assert evaluator.confusion_matrix.sum() == 0
    with pytest.raises(ValueError, match="no image of data set"):
        evaluator.evaluate()


@pytest.mark.parametrize("missing", ["stuff_classes", "ignore_label"])
def test_missing_metadata(tmp_path, missing):
    metadata = {"stuff_classes": CLASSES, "ignore_label": IGNORE}
    del metadata[missing]
    name, _ = make_dataset(tmp_path, metadata=metadata)
    with pytest.raises(ValueError, match=missing):
        SemSegConfusionEvaluator(name)


def test_wrong_size_names_the_file(dataset):
    name, records = dataset
    evaluator = SemSegConfusionEvaluator(name, distributed=False)
    for shape in [(4, 12, 10), (5, 12, 9)]:
        with pytest.raises(ValueError, match=r"0\.png: the prediction has shape"):
            evaluator.process(records[:1], [{"sem_seg": torch.zeros(shape)}])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((12, 9), 4, np.uint8), r"0\.png: class ids \[4\]"),
        (np.zeros((12, 9, 3), np.uint8), r"0\.png: a label map has one channel"),
    ],
)
def test_bad_label_map_names_the_file(dataset, labels, message):
    name, records = dataset
    Image.fromarray(labels).save(records[0]["sem_seg_file_name"])
    evaluator = SemSegConfusionEvaluator(name, distributed=False)
    with pytest.raises(ValueError, match=message):
        evaluator.process(records[:1], random_outputs()[:1])


def test_all_ignored_gives_nan(dataset):
    name, records = dataset
    Image.fromarray(np.full((12, 9), IGNORE, np.uint8)).save(records[0]["sem_seg_file_name"])
    evaluator = SemSegConfusionEvaluator(name, distributed=False)
    evaluator.process(records[:1], random_outputs()[:1])
    assert all(math.isnan(value) for value in evaluator.evaluate()["sem_seg"].values())


def test_output_dir(dataset, tmp_path):
    name, records = dataset
    evaluator = SemSegConfusionEvaluator(name, distributed=False, output_dir=str(tmp_path / "inference"))
    evaluator.process(records, random_outputs())
    metrics = evaluator.evaluate()["sem_seg"]
    written = json.loads((tmp_path / "inference" / "sem_seg_evaluation.json").read_text())
    assert written["metrics"]["mIoU"] == metrics["mIoU"]
    assert written["metrics"]["IoU-never"] is None
    assert written["confusion_matrix"] == evaluator.confusion_matrix.tolist()


def evaluate_share(rank, folder, name, records):
    """Process `rank` of two sees the images rank, rank + 2, ...; writes what `evaluate` returned."""
    MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=IGNORE)
    evaluator = SemSegConfusionEvaluator(name)
    evaluator.process(records[rank::2], random_outputs()[rank::2])
    torch.save(evaluator.evaluate(), folder / f"rank{rank}.pt")


@pytest.mark.slow
def test_two_processes_equal_one(dataset, tmp_path):
    name, records = dataset
    whole = SemSegConfusionEvaluator(name, distributed=False)
    whole.process(records, random_outputs())
    run_in_two_processes(evaluate_share, tmp_path, name, records)
    merged, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in range(2))
    assert other is None
    np.testing.assert_equal(merged, whole.evaluate())
