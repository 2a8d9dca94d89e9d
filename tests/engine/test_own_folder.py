"""From a folder of images to a trained model to predictions, by the program and without a line of code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from detectron2.engine import DefaultPredictor
from PIL import Image

from helpers.folders import CLASSES, HEIGHT, WIDTH, write_folder
from helpers.repository import PROJECT
from segvit.d2 import get_segvit_cfg
from segvit.datasets.camvid import CAMVID_CATEGORIES

CAMVID = os.environ.get("SEGVIT_CAMVID")
CONFIG = PROJECT / "configs" / "custom" / "segvit_scratch.yaml"
TINY = {
    "MODEL.VIT.IMG_SIZE": "(32,48)",
    "MODEL.VIT.EMBED_DIM": 24,
    "MODEL.VIT.DEPTH": 2,
    "MODEL.VIT.NUM_HEADS": 2,
    "MODEL.VIT.OUT_INDICES": "(1,)",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": "('block1',)",
    "MODEL.SEGVIT.HIDDEN_DIM": 16,
    "MODEL.SEGVIT.NUM_HEADS": 2,
    "MODEL.SEGVIT.NUM_LAYERS": 1,
    "INPUT.MIN_SIZE_TRAIN": "(32,)",
    "INPUT.MAX_SIZE_TRAIN": 48,
    "INPUT.MIN_SIZE_TEST": 32,
    "INPUT.MAX_SIZE_TEST": 48,
    "INPUT.CROP.SIZE": "[32,48]",
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 2,
    "SOLVER.WARMUP_ITERS": 0,
    "TEST.EVAL_PERIOD": 2,
}

pytestmark = pytest.mark.slow


def run(program, *arguments):
    """Run a program of the project on the CPU with one thread per process."""
    command = [sys.executable, PROJECT / program, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def pairs(options):
    return [item for pair in options.items() for item in pair]


def evaluation(folder):
    return json.loads((folder / "sem_seg_evaluation.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("own") / "my images")


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The run of the documented command, in two processes."""
    output = tmp_path_factory.mktemp("trained")
    flags = ["--num-gpus", 2, "--dist-url", "auto", "--config-file", CONFIG]
    done = run("train_net.py", *flags, "DATASETS.FOLDER", folder, *pairs(TINY), "OUTPUT_DIR", output)
    assert done.returncode == 0, done.stderr
    return output


def test_training_takes_everything_from_the_folder(trained, folder):
    assert {"model_best.pth", "model_final.pth", "metrics.json"} <= {path.name for path in trained.iterdir()}
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["MODEL"]["SEM_SEG_HEAD"]["NUM_CLASSES"] == len(CLASSES)
    assert config["DATASETS"]["FOLDER"] == str(folder)
    evaluated = evaluation(trained)
    assert evaluated["classes"] == list(CLASSES)
    assert sum(map(sum, evaluated["confusion_matrix"])) == 2 * (HEIGHT - 1) * WIDTH  # both images, less an ignored row
    check_predictions(trained)


def check_predictions(run):
    """Ids and colours for each validation image, at its size."""
    for kind, shape in (("labels", (HEIGHT, WIDTH)), ("colors", (HEIGHT, WIDTH, 3))):
        files = sorted((run / "predictions" / kind).iterdir())
        assert [path.name for path in files] == ["e.png", "f.png"]
        for path in files:
            with Image.open(path) as picture:
                assert np.array(picture).shape == shape


def test_evaluation_alone_by_the_config_that_the_run_saved(trained, tmp_path):
    weights = ["MODEL.WEIGHTS", trained / "model_final.pth"]
    done = run(
        "train_net.py", "--eval-only", "--config-file", trained / "config.yaml", *weights, "OUTPUT_DIR", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert evaluation(tmp_path)["confusion_matrix"] == evaluation(trained)["confusion_matrix"]
    check_predictions(tmp_path)


def test_predictor_by_the_config_that_the_run_saved(trained, folder):
    cfg = get_segvit_cfg()
    cfg.merge_from_file(str(trained / "config.yaml"))
    cfg.MODEL.WEIGHTS = str(trained / "model_final.pth")
    scores = DefaultPredictor(cfg)(cv2.imread(str(folder / "images/val/f.png")))["sem_seg"]
    assert scores.shape == (len(CLASSES), HEIGHT, WIDTH)


def test_predictions_are_drawn(trained, folder, tmp_path):
    options = ["DATASETS.FOLDER", folder, *pairs(TINY), "MODEL.WEIGHTS", trained / "model_final.pth"]
    done = run("tools/draw_predictions.py", "--config-file", CONFIG, "--output", tmp_path / "sheet.png", *options)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert len(np.unique(np.array(sheet))) > 20


def test_weights_of_another_number_of_classes_are_refused(trained, folder, tmp_path):
    other = write_folder(tmp_path / "other", colors=False)
    (other / "classes.txt").write_text("\n".join([*CLASSES, "sea"]))
    options = ["DATASETS.FOLDER", other, *pairs(TINY), "MODEL.WEIGHTS", trained / "model_final.pth"]
    done = run("train_net.py", "--eval-only", "--config-file", CONFIG, *options, "OUTPUT_DIR", tmp_path / "run")
    assert done.returncode != 0
    assert "NUM_CLASSES 3 in the file, 4 in the config" in done.stderr


def test_a_fault_of_the_validation_split_stops_the_run_at_its_start(folder, tmp_path):
    broken = write_folder(tmp_path / "broken")
    (broken / "annotations" / "val" / "f.png").unlink()
    options = ["DATASETS.FOLDER", broken, *pairs(TINY), "OUTPUT_DIR", tmp_path / "run"]
    done = run("train_net.py", "--config-file", CONFIG, *options)
    assert done.returncode == 2
    assert "dataset 'folder_val': 1 images in" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not CAMVID, reason="set SEGVIT_CAMVID to the folder of CamVid to train on it as on a folder")
def test_camvid_as_such_a_folder(tmp_path):
    """The documented command and its recipe as they are, but for the number of iterations and of validation images."""
    folder, output = tmp_path / "camvid", tmp_path / "run"
    classes = [{"name": name, "color": color} for name, color in CAMVID_CATEGORIES]
    for kind in ("images", "annotations"):
        (folder / kind / "val").mkdir(parents=True)
        (folder / kind / "train").symlink_to(Path(CAMVID, kind, "train").resolve())
        for path in sorted(Path(CAMVID, kind, "val").resolve().iterdir())[::25]:
            (folder / kind / "val" / path.name).symlink_to(path)
    (folder / "classes.json").write_text(json.dumps(classes))
    few = pairs({"SOLVER.MAX_ITER": 2, "SOLVER.WARMUP_ITERS": 0, "TEST.EVAL_PERIOD": 2, "OUTPUT_DIR": output})
    done = run("train_net.py", "--config-file", CONFIG, "DATASETS.FOLDER", folder, *few)
    assert done.returncode == 0, done.stderr
    evaluated = evaluation(output)
    assert evaluated["classes"] == [name for name, _ in CAMVID_CATEGORIES]
    assert 0 < evaluated["metrics"]["pACC"] <= 100
    assert len(list((output / "predictions" / "labels").iterdir())) == 5
