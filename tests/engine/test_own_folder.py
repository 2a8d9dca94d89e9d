"""DATASETS.FOLDER: from a folder of images to a trained model to predictions, by the programs alone."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from detectron2.engine import DefaultPredictor
from PIL import Image
from safetensors.torch import load_file

from helpers.folders import CLASSES, HEIGHT, WIDTH, write_folder
from helpers.processes import run_program
from helpers.repository import PROJECT
from segvit.d2 import get_segvit_cfg
from segvit.datasets.benchmarks.camvid import CAMVID_CATEGORIES

CAMVID = os.environ.get("SEGVIT_CAMVID")
TRAIN = PROJECT / "train_net.py"
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


def pairs(options):
    return [item for pair in options.items() for item in pair]


def evaluation(folder):
    return json.loads((folder / "sem_seg_evaluation.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("own") / "my images")


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The output folder of the documented command, run in two processes."""
    output = tmp_path_factory.mktemp("trained")
    flags = ["--num-gpus", 2, "--dist-url", "auto", "--config-file", CONFIG]
    done = run_program(TRAIN, *flags, "DATASETS.FOLDER", folder, *pairs(TINY), "OUTPUT_DIR", output)
    assert done.returncode == 0, done.stderr
    return output


def test_training_reads_classes_and_splits_from_the_folder(trained, folder):
    assert {"model_best.pth", "model_final.pth", "metrics.json"} <= {path.name for path in trained.iterdir()}
    assert "World size: 2" in (trained / "log.txt").read_text()
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["MODEL"]["SEM_SEG_HEAD"]["NUM_CLASSES"] == len(CLASSES)
    assert config["DATASETS"]["FOLDER"] == str(folder)
    evaluated = evaluation(trained)
    assert evaluated["classes"] == list(CLASSES)
    assert sum(map(sum, evaluated["confusion_matrix"])) == 2 * (HEIGHT - 1) * WIDTH  # both images, less an ignored row
    check_predictions(trained)


def check_predictions(run):
    """Label ids and colours are written for each validation image, at its size."""
    for kind, shape in (("labels", (HEIGHT, WIDTH)), ("colors", (HEIGHT, WIDTH, 3))):
        files = sorted((run / "predictions" / kind).iterdir())
        assert [path.name for path in files] == ["e.png", "f.png"]
        for path in files:
            with Image.open(path) as image:
                assert np.array(image).shape == shape


def test_eval_only_with_the_saved_config_gives_the_same_result(trained, tmp_path):
    weights = ["MODEL.WEIGHTS", trained / "model_final.pth"]
    done = run_program(TRAIN, "--eval-only", "--config-file", trained / "config.yaml", *weights, "OUTPUT_DIR", tmp_path)
    assert done.returncode == 0, done.stderr
    assert evaluation(tmp_path)["confusion_matrix"] == evaluation(trained)["confusion_matrix"]
    check_predictions(tmp_path)


def test_the_model_folder_is_trained_further(trained, folder, tmp_path):
    options = ["--output", tmp_path / "more", "DATASETS.FOLDER", folder, "SOLVER.MAX_ITER", 1, "SOLVER.BASE_LR", 1e-9]
    done = run_program(TRAIN, "--model", trained, *options, "SOLVER.IMS_PER_BATCH", 1)
    assert done.returncode == 0, done.stderr
    before, after = (load_file(run / "model" / "model.safetensors") for run in (trained, tmp_path / "more"))
    learnt = [name for name in before if "running" not in name and "num_batches" not in name]  # no statistics
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in learnt)


def test_the_saved_config_builds_a_predictor(trained, folder):
    cfg = get_segvit_cfg()
    cfg.merge_from_file(str(trained / "config.yaml"))
    cfg.MODEL.WEIGHTS = str(trained / "model_final.pth")
    scores = DefaultPredictor(cfg)(cv2.imread(str(folder / "images/val/f.png")))["sem_seg"]
    assert scores.shape == (len(CLASSES), HEIGHT, WIDTH)


def test_predictions_are_drawn(trained, folder, tmp_path):
    options = ["DATASETS.FOLDER", folder, *pairs(TINY), "MODEL.WEIGHTS", trained / "model_final.pth"]
    done = run_program(
        PROJECT / "tools" / "draw_predictions.py", "--config-file", CONFIG, "--output", tmp_path / "sheet.png", *options
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert len(np.unique(np.array(sheet))) > 20


def test_weights_with_another_number_of_classes_are_refused(trained, folder, tmp_path):
    other = write_folder(tmp_path / "other", colors=False)
    (other / "classes.txt").write_text("\n".join([*CLASSES, "sea"]))
    options = ["DATASETS.FOLDER", other, *pairs(TINY), "MODEL.WEIGHTS", trained / "model_final.pth"]
    done = run_program(TRAIN, "--eval-only", "--config-file", CONFIG, *options, "OUTPUT_DIR", tmp_path / "run")
    assert done.returncode == 2
    assert "model_final.pth" in done.stderr and "3 there, 4 here" in done.stderr


def test_a_missing_validation_label_stops_the_run_before_training(folder, tmp_path):
    broken = write_folder(tmp_path / "broken")
    (broken / "annotations" / "val" / "f.png").unlink()
    options = ["DATASETS.FOLDER", broken, *pairs(TINY), "OUTPUT_DIR", tmp_path / "run"]
    done = run_program(TRAIN, "--config-file", CONFIG, *options)
    assert done.returncode == 2
    assert "dataset 'folder_val': 1 images in" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(not CAMVID, reason="set SEGVIT_CAMVID to the folder of CamVid to train on it as on a folder")
def test_camvid_as_a_folder_of_images(tmp_path):
    """The documented command and recipe, with a narrow model, fewer iterations and validation images."""
    folder, output = tmp_path / "camvid", tmp_path / "run"
    classes = [{"name": name, "color": color} for name, color in CAMVID_CATEGORIES]
    for kind in ("images", "annotations"):
        (folder / kind / "val").mkdir(parents=True)
        (folder / kind / "train").symlink_to(Path(CAMVID, kind, "train").resolve())
        for path in sorted(Path(CAMVID, kind, "val").resolve().iterdir())[::25]:
            (folder / kind / "val" / path.name).symlink_to(path)
    (folder / "classes.json").write_text(json.dumps(classes))
    few = pairs({"SOLVER.MAX_ITER": 2, "SOLVER.WARMUP_ITERS": 0, "TEST.EVAL_PERIOD": 2, "OUTPUT_DIR": output})
    narrow = pairs({"MODEL.VIT.EMBED_DIM": 24, "MODEL.SEGVIT.HIDDEN_DIM": 12})
    done = run_program(TRAIN, "--config-file", CONFIG, "DATASETS.FOLDER", folder, *few, *narrow)
    assert done.returncode == 0, done.stderr
    evaluated = evaluation(output)
    assert evaluated["classes"] == [name for name, _ in CAMVID_CATEGORIES]
    assert 0 < evaluated["metrics"]["pACC"] <= 100
    assert len(list((output / "predictions" / "labels").iterdir())) == 5
