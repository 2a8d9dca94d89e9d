"""The program as users run it, on a few toy scenes: train, evaluate, two processes, arguments that cannot run."""

import json
import os
import subprocess
import sys

import pytest

from helpers.repository import PROJECT

CONFIG = PROJECT / "configs" / "quick_schedules" / "toy_scenes.yaml"
SHORT = ["SOLVER.MAX_ITER", "2", "TEST.EVAL_PERIOD", "2", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "0"]

pytestmark = pytest.mark.slow


def train_net(datasets, *arguments):
    """Run the program on the CPU with one thread per process."""
    environment = os.environ | {
        "DETECTRON2_DATASETS": str(datasets),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, PROJECT / "train_net.py", "--config-file", CONFIG, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def evaluation(folder):
    return json.loads((folder / "sem_seg_evaluation.json").read_text())


@pytest.fixture(scope="module")
def trained(toy_scenes_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    done = train_net(toy_scenes_root, *SHORT, "OUTPUT_DIR", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_training_leaves_its_files(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.json", "model_final.pth", "model_best.pth"} <= names
    assert "mIoU" in (trained / "log.txt").read_text()


def test_a_batch_without_its_learning_rate_is_in_the_log(trained):
    assert "SOLVER.IMS_PER_BATCH is 2, but SOLVER.BASE_LR 0.001 was chosen for 4" in (trained / "log.txt").read_text()


def test_evaluation_alone_gives_the_same(trained, toy_scenes_root, tmp_path):
    weights = ["MODEL.WEIGHTS", trained / "model_final.pth"]
    done = train_net(toy_scenes_root, "--eval-only", *weights, "OUTPUT_DIR", tmp_path, "SEED", "8")
    assert done.returncode == 0, done.stderr
    assert evaluation(tmp_path) == evaluation(trained)
    assert 0 < evaluation(tmp_path)["metrics"]["mIoU"] <= 100
    assert not (tmp_path / "model_final.pth").exists()
    assert "SOLVER.BASE_LR 0.001 was chosen" not in (tmp_path / "log.txt").read_text()


def test_evaluation_by_windows_at_several_scales(trained, toy_scenes_root, tmp_path):
    """Single-scale and multi-scale results, the latter with their files in a folder of their own."""
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
def test_what_cannot_run_is_refused_at_once(arguments, message, toy_scenes_root, tmp_path):
    done = train_net(toy_scenes_root, *arguments, "OUTPUT_DIR", tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_processes(toy_scenes_root, tmp_path):
    done = train_net(toy_scenes_root, "--num-gpus", "2", "--dist-url", "auto", *SHORT, "OUTPUT_DIR", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "World size: 2" in (tmp_path / "log.txt").read_text()
    assert (tmp_path / "model_final.pth").exists()
    pixels = sum(map(sum, evaluation(tmp_path)["confusion_matrix"]))
    assert 0.9 * 3 * 128 * 160 < pixels <= 3 * 128 * 160  # each of the three images once, the ignored pixels aside
