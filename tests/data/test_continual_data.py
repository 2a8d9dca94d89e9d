"""The data of a continual step: its images, its labels, and its evaluation.

Shape shorthand: H x W pixels of an image.
"""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.env import seed_all_rng
from PIL import Image

from segvit.config.continual_step import continual_step, training_labels
from segvit.data import SegViTSemanticDatasetMapper
from segvit.data.step_records import step_records
from segvit.errors import UserError
from segvit.evaluation import ContinualEvaluator

CLASSES = ["grass", "road", "sky", "car", "tree"]
# The classes in each image; groups are (grass, road), (sky, car), (tree,).
IMAGES = {"a": (0, 1), "b": (0, 2), "c": (2, 3), "d": (1, 4), "e": (2, 4)}
HEIGHT, WIDTH = 24, 32


@pytest.fixture
def data(tmp_path, tiny_cfg):
    """A registered dataset of five images, and its config with groups of 2, 2 and 1."""
    write_labels(tmp_path, {name: name for name in IMAGES})
    for seed, name in enumerate(IMAGES):
        pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    name = f"continual_{tmp_path.name}"
    DatasetCatalog.register(
        name,
        lambda: [
            {"file_name": str(tmp_path / f"{stem}.png"), "sem_seg_file_name": str(tmp_path / f"{stem}_labels.png")}
            for stem in IMAGES
        ],
    )
    MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=255)
    tiny_cfg.DATASETS.TRAIN = (name,)
    tiny_cfg.MODEL.SEGVIT.CONTINUAL.PROTOCOL = "2-2"
    tiny_cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.6
    yield tiny_cfg
    DatasetCatalog.remove(name)


def write_labels(folder, names, poison=()):
    """Blocks of each image's classes, the first row ignored; the classes in `poison` are shuffled at random."""
    for seed, name in enumerate(names):
        generator = np.random.default_rng(seed)
        labels = generator.choice(IMAGES[name], (HEIGHT // 4, WIDTH // 4)).astype(np.uint8)
        labels[-1, : len(IMAGES[name])] = IMAGES[name]
        labels = labels.repeat(4, 0).repeat(4, 1)
        if poison:
            poisoned = generator.choice(poison, labels.shape).astype(np.uint8)
            labels = np.where(np.isin(labels, poison), poisoned, labels)
        labels[0] = 255
        Image.fromarray(labels).save(folder / f"{name}_labels.png")


def at_step(cfg, step, **keys):
    cfg = cfg.clone()
    cfg.MODEL.SEGVIT.CONTINUAL.STEP = step
    for key, value in keys.items():
        cfg.MODEL.SEGVIT.CONTINUAL[key] = value
    return cfg


def records_of(cfg):
    return [record for records in step_records(cfg).values() for record in records]


def stems(records):
    return "".join(record["file_name"].split("/")[-1][0] for record in records)


@pytest.mark.parametrize(
    ("selection", "step", "expected"),
    [
        ("overlapped", 0, "abd"),
        ("overlapped", 1, "bce"),
        ("overlapped", 2, "de"),
        ("disjoint", 0, "a"),
        ("disjoint", 1, "bc"),
        ("disjoint", 2, "de"),
    ],
)
def test_a_step_selects_the_images_of_its_classes(data, selection, step, expected):
    assert stems(records_of(at_step(data, step, SELECTION=selection))) == expected


def test_without_a_protocol_all_images_are_used(data):
    assert step_records(at_step(data, -1, PROTOCOL="")) is None


def test_a_step_without_images_is_refused(data):
    groups = [["road", "grass"], ["sky", "tree"], ["car"]]
    cfg = at_step(data, 0, PROTOCOL="", GROUPS=groups, SELECTION="disjoint")
    assert stems(records_of(cfg)) == "a"
    cfg.MODEL.SEGVIT.CONTINUAL.GROUPS = [["grass"], ["road", "sky", "tree"]]
    with pytest.raises(ValueError, match=r"step 0 .*SELECTION 'overlapped'"):
        step_records(cfg)


def mapped(cfg, repeat=4):
    """The augmented images and labels of a step."""
    seed_all_rng(3)
    mapper = SegViTSemanticDatasetMapper(cfg, is_train=True)
    return [mapper(record) for _ in range(repeat) for record in records_of(cfg)]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_labels_of_other_groups_have_no_effect(data, tmp_path, step):
    cfg = at_step(data, step)
    new_classes = continual_step(cfg).new_classes
    clean = mapped(cfg)
    others = [class_id for class_id in range(len(CLASSES)) if class_id not in new_classes]
    write_labels(tmp_path, IMAGES, poison=others)
    poisoned = mapped(cfg)
    assert len(clean) == len(poisoned) > 0
    for one, other in zip(clean, poisoned):
        assert torch.equal(one["image"], other["image"]) and torch.equal(one["sem_seg"], other["sem_seg"])
        assert set(one["sem_seg"].unique().tolist()) <= {*new_classes, len(CLASSES), 255}


def test_other_classes_become_background_and_ignored_pixels_stay_ignored(data):
    assert training_labels(at_step(data, 1)).tolist() == [5, 5, 2, 3, 5]
    labels = torch.cat([inputs["sem_seg"].flatten() for inputs in mapped(at_step(data, 1))])
    assert set(labels.tolist()) == {2, 3, 5, 255}


def test_labels_are_matched_by_name(data):
    """The model and the dataset have different classes: those missing in the model are background."""
    cfg = at_step(data, 1, CLASSES=["water", "sky", "tree", "wall", "grass"], PROTOCOL="3-2")
    assert training_labels(cfg).tolist() == [4, 5, 5, 5, 5]
    assert training_labels(at_step(cfg, 0)).tolist() == [5, 5, 1, 5, 2]


def test_an_ignore_value_equal_to_the_background_label_is_refused(data):
    data.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 5
    with pytest.raises(ValueError, match="IGNORE_VALUE 5 is the label of the background"):
        training_labels(at_step(data, 0))


def test_an_ignore_value_that_is_a_class_of_the_dataset_alone_is_refused(data):
    """Its pixels would have the label of that class, in the training and in the evaluation."""
    MetadataCatalog.pop(data.DATASETS.TRAIN[0])
    MetadataCatalog.get(data.DATASETS.TRAIN[0]).set(stuff_classes=CLASSES, ignore_label=4)
    cfg = at_step(data, 0, CLASSES=["water", "sky"], PROTOCOL="1-1")
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 2, 4
    with pytest.raises(UserError, match="IGNORE_VALUE 4 must be at least 5"):
        mapped(cfg)
    with pytest.raises(UserError, match="IGNORE_VALUE 4 must be at least 5"):
        ContinualEvaluator(data.DATASETS.TRAIN[0], step=continual_step(cfg), output_dir="")


def evaluate(cfg, outputs, tmp_path):
    evaluator = ContinualEvaluator(
        cfg.DATASETS.TRAIN[0], step=continual_step(cfg), output_dir=str(tmp_path / "out"), distributed=False
    )
    records = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    evaluator.process(records, outputs)
    return evaluator.evaluate()["continual"]


def one_hot(records, *, wrong=()):
    """Perfect scores, except that class 4 outscores the classes of `wrong`."""
    outputs = []
    for record in records:
        labels = torch.from_numpy(np.array(Image.open(record["sem_seg_file_name"]))).long()
        scores = torch.nn.functional.one_hot(labels.clamp(max=4), 5).permute(2, 0, 1).float()
        scores[4] += 2.0 * torch.isin(labels, torch.tensor(wrong, dtype=torch.int64))
        outputs.append({"sem_seg": scores})
    return outputs


def test_groups_are_evaluated_among_all_classes_and_alone(data, tmp_path):
    records = DatasetCatalog.get(data.DATASETS.TRAIN[0])
    metrics = evaluate(at_step(data, 2), one_hot(records, wrong=(3,)), tmp_path)
    assert metrics["mIoU_base"] == metrics["mIoU_group0"] == 100
    assert metrics["mIoU_group1"] == 50  # sky is right, car is always predicted as tree
    assert metrics["mIoU_group1_alone"] == 100
    assert "mIoU_group2_alone" not in metrics  # one class alone would always be right
    assert 0 < metrics["mIoU_group2"] < 100
    assert metrics["mIoU_new"] == pytest.approx((100 + 0 + metrics["mIoU_group2"]) / 3)


@pytest.mark.parametrize(("unlearnt", "expected"), [((0.3, 0.3), 100.0), ((0.9, 0.0), 0.0)])
def test_the_confidence_is_compared_between_learnt_and_later_classes(data, tmp_path, unlearnt, expected):
    """Scores of classes that are not learnt yet have no part in it."""
    outputs = []
    for record in DatasetCatalog.get(data.DATASETS.TRAIN[0]):
        labels = torch.from_numpy(np.array(Image.open(record["sem_seg_file_name"])))
        scores = torch.full((5, HEIGHT, WIDTH), 0.8)
        scores[:2] = torch.where(
            labels < 2, torch.tensor([0.6, 0.1])[:, None, None], torch.tensor(unlearnt)[:, None, None]
        )
        outputs.append({"sem_seg": scores})
    metrics = evaluate(at_step(data, 0), outputs, tmp_path)
    assert metrics["AUROC_confidence"] == metrics["AUROC_score"] == expected
    assert not any(name.startswith("AUROC") for name in evaluate(at_step(data, 2), outputs, tmp_path))
    labels_alone = [{"sem_seg_labels": output["sem_seg"].argmax(0)} for output in outputs]
    assert not any(name.startswith("AUROC") for name in evaluate(at_step(data, 0), labels_alone, tmp_path))


def test_classes_not_learnt_yet_are_not_counted(data, tmp_path):
    records = DatasetCatalog.get(data.DATASETS.TRAIN[0])
    metrics = evaluate(at_step(data, 0), one_hot(records, wrong=(2, 3)), tmp_path)
    assert metrics["mIoU_all"] == metrics["mIoU_base"] == 100 and np.isnan(metrics["mIoU_new"])


def test_new_classes_are_also_evaluated_on_pixels_of_classes_that_the_model_does_not_have(data, tmp_path):
    """The model lacks class 4 of the dataset, whose pixels are predicted as its new class 3, and class 1 is later."""
    records, names = DatasetCatalog.get(data.DATASETS.TRAIN[0]), list(CLASSES)
    cfg = data.clone()
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 4
    cfg = at_step(cfg, 1, CLASSES=names[:4], CLASS_ORDER=[], PROTOCOL="", GROUPS=[[0, 2], [3], [1]])
    truth = torch.stack([torch.from_numpy(np.array(Image.open(one["sem_seg_file_name"]))).long() for one in records])
    predicted = truth.where(truth < 4, 3)
    metrics = evaluate(cfg, [{"sem_seg_labels": labels} for labels in predicted], tmp_path)
    assert metrics["mIoU_group1"] == 100
    known = (truth != 255) & (truth != 1)
    expected = 100 * float((truth == 3).sum() / (known & (predicted == 3)).sum())
    assert 0 < expected < 100 and metrics["mIoU_group1_all_labels"] == pytest.approx(expected)
    assert metrics[f"IoU_all_labels-{names[3]}"] == metrics["mIoU_group1_all_labels"]
    # In the first step there is no new group, and a model with all classes of the dataset has nothing to add.
    for other in (at_step(cfg, 0), at_step(data, 1)):
        outputs = [{"sem_seg_labels": labels} for labels in predicted]
        assert not any("all_labels" in name for name in evaluate(other, outputs, tmp_path))


def test_label_outputs_are_evaluated_among_all_classes_only(data, tmp_path):
    records = DatasetCatalog.get(data.DATASETS.TRAIN[0])
    labels = [{"sem_seg_labels": output["sem_seg"].argmax(dim=0)} for output in one_hot(records)]
    metrics = evaluate(at_step(data, 2), labels, tmp_path)
    assert metrics["mIoU_all"] == 100 and not any(name.endswith("alone") for name in metrics)


@pytest.mark.parametrize(
    ("selection", "step", "expected"),
    [
        ("overlapped", 0, "ad"),
        ("disjoint", 0, "a"),
        ("overlapped", 1, "bce"),
        ("disjoint", 1, "bc"),
        ("disjoint", 2, "de"),
    ],
)
def test_a_background_class_selects_no_image(data, selection, step, expected):
    """Of the groups (grass, road), (sky, car) and (tree,) the protocol counts all but the background, grass."""
    cfg = at_step(data, step, SELECTION=selection, PROTOCOL="1-2", BACKGROUND_CLASS="grass")
    assert continual_step(cfg).groups == ((0, 1), (2, 3), (4,))
    assert stems(records_of(cfg)) == expected
