"""cross_validate.py: groups by file name, folds without a shared image, tables, reuse, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from PIL import Image

from helpers.repository import PROJECT
from helpers.scripts import load_script
from helpers.short_runs import SHORT_RUN, overrides
from segvit.d2 import load_config
from segvit.datasets.name_groups import group_names
from segvit.errors import UserError
from segvit.experiments.unseen_groups import Fold, FoldResult, lock_images, make_folds, mean_class_iou
from segvit.modeling.weights.weight_files import read_weight_file

TOOL = load_script(PROJECT / "cross_validate.py")
CONFIG = str(PROJECT / "configs" / "quick_schedules" / "toy_scenes.yaml")
TINY = overrides(SHORT_RUN | {"SOLVER.MAX_ITER": "2", "TEST.EVAL_PERIOD": "2"})
GROUPS = r"(\w)_"


@pytest.fixture
def grouped_scenes(toy_scenes, tmp_path, monkeypatch):
    """Copies of the toy scenes as groups a and b: six training images, three of each, and three of a in validation."""
    root = tmp_path / "data"
    for source in sorted(toy_scenes.rglob("*.*")):
        if source.is_file():
            target = root / source.relative_to(toy_scenes)
            index = sorted(path.stem for path in source.parent.iterdir()).index(source.stem)
            group = "b" if source.parent.name == "train" and index % 2 else "a"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target.with_name(f"{group}_{source.name}"))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    return root


def file_names(*stems):
    return [f"{stem}.png" for stem in stems]


def names_in(dataset):
    return {record["file_name"] for record in DatasetCatalog.get(dataset)}


def run_tool(output, *words):
    return TOOL.main(["--config-file", CONFIG, "--groups", GROUPS, "--output", str(output), *words, *TINY])


def test_groups_are_the_first_parenthesis_or_the_whole_match():
    images = file_names("0001TP_1", "0006R0_1", "0001TP_2")
    for pattern in (r"(\d+[A-Z]+\d*)_", r"\d+[A-Z]+\d*"):
        groups = group_names(images, pattern)
        assert {name: len(of_name) for name, of_name in groups.items()} == {"0001TP": 2, "0006R0": 1}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "expression"),
        ("a{99999999999}", "expression"),
        ("a", r"no group.* 2 images, such as b\.png"),
        (r"\w", "one group"),
    ],
)
def test_patterns_that_give_no_groups_are_refused(pattern, message):
    images = file_names("a", "b", "c") if pattern == "a" else file_names("a", "aa")
    with pytest.raises(UserError, match=f"--groups .*{message}"):
        group_names(images, pattern)


def test_each_image_is_unseen_once(grouped_scenes):
    folds = make_folds(load_config(CONFIG, TINY), GROUPS)
    assert [(fold.unseen, len(fold.trained_images), len(fold.unseen_images)) for fold in folds] == [
        ("a", 3, 6),
        ("b", 6, 3),
    ]
    tested = [names_in(fold.cfg.DATASETS.TEST[0]) for fold in folds]
    assert not set.intersection(*tested) and len(set.union(*tested)) == 9
    for fold, unseen in zip(folds, tested, strict=True):
        assert not names_in(fold.cfg.DATASETS.TRAIN[0]) & unseen


def test_means_leave_out_classes_that_a_group_lacks():
    results = [
        FoldResult(name, 1, 1, 0.0, 0.0, {"road": road, "pole": pole, "car": None}, 0.0)
        for name, road, pole in (("a", 80.0, None), ("b", 60.0, 10.0))
    ]
    assert mean_class_iou(results) == {"road": 70.0, "pole": 10.0, "car": None}


def test_every_fold_is_trained_once(grouped_scenes, tmp_path, capsys):
    """The first call trains one of two groups, the second one the other."""
    assert run_tool(tmp_path / "runs", "--unseen", "b") == 0
    checkpoint = tmp_path / "runs" / "b" / "model_final.pth"
    written = checkpoint.stat().st_mtime_ns
    assert read_weight_file(str(checkpoint))["trainer"]["hooks"]["Stopwatch"]["seconds"] > 0
    capsys.readouterr()
    assert run_tool(tmp_path / "runs") == 0
    assert checkpoint.stat().st_mtime_ns == written
    result = json.loads((tmp_path / "runs" / "unseen_groups.json").read_text())
    assert [fold["unseen"] for fold in result["folds"]] == ["a", "b"]
    assert result["mean"]["miou"] == pytest.approx(sum(fold["miou"] for fold in result["folds"]) / 2)
    assert all(fold["boundary_iou"] is not None for fold in result["folds"])
    assert "mean" in capsys.readouterr().out

    # One group alone keeps the other in the report.
    assert run_tool(tmp_path / "runs", "--unseen", "b") == 0
    assert json.loads((tmp_path / "runs" / "unseen_groups.json").read_text()) == result


def test_results_of_other_images_are_not_reported(grouped_scenes, tmp_path, capsys):
    (fold, _) = make_folds(load_config(CONFIG), GROUPS)
    lock_images(fold, tmp_path)
    lock_images(fold, tmp_path)
    fold.unseen_images.append("a_new.png")
    with pytest.raises(UserError, match=r"images\.json belongs to a run on other images: choose another --output"):
        lock_images(fold, tmp_path)


def test_each_group_has_a_folder_of_its_own_below_the_output():
    names = [Fold(group, CfgNode(), [], []).folder_name for group in ("s 1", "s-1", "s+1", "..", ".", "a/b", "0001TP")]
    assert len(set(names)) == len(names) and names[-1] == "0001TP"
    assert not any(name.startswith(".") or "/" in name for name in names)


def test_an_unknown_group_is_refused(grouped_scenes, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool(tmp_path / "runs", "--unseen", "c")
    assert ended.value.code == 2 and "--unseen c: groups are a, b" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_group_without_labels_fails_and_leaves_the_means_alone(grouped_scenes, tmp_path):
    for path in (grouped_scenes / "toy_scenes" / "annotations").rglob("b_*.png"):
        with Image.open(path) as image:
            palette, labels = image.getpalette(), np.full_like(np.asarray(image), 255)
        empty = Image.fromarray(labels)
        if palette:
            empty.putpalette(palette)
        empty.save(path)
    assert run_tool(tmp_path / "runs") == 1
    report = (tmp_path / "runs" / "unseen_groups.json").read_text()
    assert "NaN" not in report and "no pixel of group b has a class" in report
    assert [fold["unseen"] for fold in json.loads(report)["folds"]] == ["a"]
