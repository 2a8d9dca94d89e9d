"""train_net.py on a few toy scenes: training, evaluation, and arguments that are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file

from helpers.processes import run_program
from helpers.repository import PROJECT
from segvit.model_folder.files import read_model_folder

CONFIG = PROJECT / "configs" / "quick_schedules" / "toy_scenes.yaml"
SHORT = ["SOLVER.MAX_ITER", "2", "TEST.EVAL_PERIOD", "2", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "0"]


def train_net(datasets, *arguments):
    environment = {"DETECTRON2_DATASETS": str(datasets)}
    return run_program(PROJECT / "train_net.py", "--config-file", CONFIG, *arguments, environment=environment)


def evaluation(folder):
    return json.loads((folder / "sem_seg_evaluation.json").read_text())


@pytest.fixture(scope="module")
def trained(toy_scenes_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    done = train_net(toy_scenes_root, *SHORT, "OUTPUT_DIR", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_training_writes_its_files(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.json", "model_final.pth", "model_best.pth", "model"} <= names
    assert "mIoU" in (trained / "log.txt").read_text()


def test_training_writes_a_model_folder_of_its_best_checkpoint(trained):
    folder = read_model_folder(trained / "model")
    best = torch.load(trained / "model_best.pth", weights_only=True)["model"]
    weights = load_file(folder.weights)
    assert weights.keys() == best.keys() and all(torch.equal(weights[name], best[name]) for name in best)
    assert folder.metrics["mIoU"] == pytest.approx(evaluation(trained)["metrics"]["mIoU"])
    assert "train_net.py" in folder.card and str(trained) not in folder.card
    assert len(folder.classes.names) == 10


def test_eval_only_takes_a_model_folder_as_the_config_file(trained, toy_scenes_root, tmp_path):
    """With its own weights, and the metrics that it holds; the folder stays as it was."""
    folder = trained / "model"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    words = ["--eval-only", "--config-file", folder, "--output", tmp_path / "out"]
    done = run_program(PROJECT / "train_net.py", *words, environment={"DETECTRON2_DATASETS": str(toy_scenes_root)})
    assert done.returncode == 0, done.stderr
    assert evaluation(tmp_path / "out")["metrics"]["mIoU"] == pytest.approx(read_model_folder(folder).metrics["mIoU"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_log_warns_of_a_changed_batch_with_an_unchanged_learning_rate(trained):
    assert "SOLVER.IMS_PER_BATCH is 2, but SOLVER.BASE_LR 0.001 was chosen for 4" in (trained / "log.txt").read_text()


def test_eval_only_gives_the_same_result(trained, toy_scenes_root, tmp_path):
    weights = ["MODEL.WEIGHTS", trained / "model_final.pth"]
    done = train_net(toy_scenes_root, "--eval-only", *weights, "OUTPUT_DIR", tmp_path, "SEED", "8")
    assert done.returncode == 0, done.stderr
    assert evaluation(tmp_path) == evaluation(trained)
    assert 0 < evaluation(tmp_path)["metrics"]["mIoU"] <= 100
    assert not (tmp_path / "model_final.pth").exists()
    assert "SOLVER.BASE_LR 0.001 was chosen" not in (tmp_path / "log.txt").read_text()


def test_sliding_windows_and_multi_scale_evaluation(trained, toy_scenes_root, tmp_path):
    """Multi-scale results go to a folder of their own, tta."""
    scales = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(64,160)", "TEST.AUG.MAX_SIZE", "400"]
    windows = ["TEST.WINDOW.ENABLED", "True", "TEST.WINDOW.SIZE", "[96,96]", "TEST.WINDOW.STRIDE", "[64,64]"]
    extras = ["TEST.BOUNDARY_IOU", "True", "TEST.SAVE_PREDICTIONS", "True", "TEST.LABELS_ONLY", "True"]
    weights = ["MODEL.WEIGHTS", trained / "model_final.pth", "OUTPUT_DIR", tmp_path]
    done = train_net(toy_scenes_root, "--eval-only", *weights, *windows, *scales, *extras)
    assert done.returncode == 0, done.stderr
    for folder in (tmp_path, tmp_path / "tta"):
        assert 0 < evaluation(folder)["metrics"]["mBoundaryIoU"] <= 100
        assert len(list(folder.glob("predictions/*/*.png"))) == 2 * 3


def test_flags_must_come_first(toy_scenes_root, tmp_path):
    done = train_net(toy_scenes_root, "OUTPUT_DIR", tmp_path, "--eval-only")
    assert done.returncode != 0
    assert "--eval-only must come before the KEY VALUE pairs" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SOLVER.IMS_PER_BATCH", "4", "SOLVER.REFERENCE_WORLD_SIZE", "8"], "for 4 images in all"),
        (["SOLVER.ITERATIONS", "4"], "there is no config key SOLVER.ITERATIONS"),
        (["--config-file", ""], "name a config by --config-file"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(arguments, message, toy_scenes_root, tmp_path):
    done = train_net(toy_scenes_root, *arguments, "OUTPUT_DIR", tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
