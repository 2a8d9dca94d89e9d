"""benchmark_parts.py: the rows and measurements of each part, and `CriterionStep`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from criterion_step import CriterionStep
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.analysis.from_config import build_random_model
from segvit.datasets.benchmarks.toy_scenes import TOY_SCENES_CATEGORIES
from training_step import random_input

BENCHMARKS = PROJECT / "benchmarks"
TOY_CLASSES = ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", str(len(TOY_SCENES_CATEGORIES)))


@pytest.fixture
def measure(tiny_cfg, tmp_path, capsys):
    """Runs a part on the tiny model; returns its rows by name."""
    benchmark = load_script(BENCHMARKS / "benchmark_parts.py")

    def run(part, *arguments):
        config = tmp_path / "tiny.yaml"
        config.write_text(tiny_cfg.dump())
        benchmark.main([part, "--config-file", str(config), "--rounds", "2", "--json", *arguments])
        report = json.loads(capsys.readouterr().out)
        assert set(report) == {"machine", "threads", "parts"}
        assert all(row["median_ms"] > 0 for row in report["parts"])
        return {row["name"]: row for row in report["parts"]}

    return run


@pytest.mark.slow
def test_the_part_criterion_reports_its_rows(measure):
    rows = measure("criterion", "--present", "3", "--classes", "4", "--step")
    assert list(rows) == ["3 of 4 classes", "whole model"]
    assert rows["3 of 4 classes"]["peak_mb"] > 0 and rows["whole model"]["peak_mb"] is None


@pytest.mark.slow
def test_the_part_labels_reports_its_rows(measure):
    rows = measure("labels", "--present", "2", "--classes", "150", "--input-size", "256", "256")
    assert list(rows) == ["pruned, 2 of 150 classes", "all, 2 of 150 classes"]
    assert rows["all, 2 of 150 classes"]["peak_mb"] > 25 + rows["pruned, 2 of 150 classes"]["peak_mb"]


@pytest.mark.slow
def test_the_part_mapper_reports_its_rows(measure, toy_scenes):
    rows = measure("mapper", "--images", "3", "DATASETS.TRAIN", "('toy_scenes_sem_seg_train',)", *TOY_CLASSES)
    assert list(rows) == ["here", "one worker"]
    for row in rows.values():
        assert row["images_per_s"] == pytest.approx(3000 / row["median_ms"])


def test_the_part_evaluation_reports_its_rows(measure):
    assert list(measure("evaluation")) == ["model", "evaluator, of scores", "evaluator, of labels"]


def test_the_part_predictor_reports_its_rows(measure, tiny_cfg, tmp_path):
    torch.save({"model": build_random_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.png")
    rows = measure("predictor", "--image", str(tmp_path / "a.png"), "MODEL.WEIGHTS", str(tmp_path / "model.pth"))
    assert list(rows) == ["model", "predictor, one by one", "predictor, stream"]


def test_the_part_precision_reports_its_rows(measure, tmp_path):
    images = [str(tmp_path / f"{seed}.png") for seed in (0, 1)]
    for seed, path in enumerate(images):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    torch.manual_seed(0)
    rows = measure("precision", "--images", *images, "--input-size", "32", "48")
    assert list(rows) == ["fp32", "bf16"]
    assert 0.8 < rows["bf16"]["labels_agree"] <= 1


def test_criterion_step_has_the_models_stages_and_gradients_for_all_logits(tiny_cfg):
    step = CriterionStep(tiny_cfg, batch_size=2, image_size=(32, 48), num_present=3)
    assert step() > 0
    assert len(step.stages) == 2
    for stage in step.stages:
        assert stage["pred_logits"].shape == (2, 5, 6) and stage["pred_masks"].shape == (2, 5, 4, 6)
        assert all(logits.grad is not None for logits in stage.values())
        assert (stage["pred_masks"].grad.abs().sum(dim=(0, 2, 3)) > 0).tolist() == [True] * 3 + [False] * 2


@pytest.mark.parametrize("num_present", [1, 10, 64])
def test_random_labels_contain_all_present_classes(num_present):
    image = random_input((64, 96), num_present, seed=3)
    assert image["sem_seg"].unique().tolist() == list(range(num_present))
    assert image["sem_seg"].dtype == image["image"].dtype == torch.uint8  # as the dataset mapper gives them
