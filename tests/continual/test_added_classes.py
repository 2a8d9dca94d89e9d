"""train_continual.py --model FOLDER: a finished model learns the new classes of a folder, and old scores stay.

Shape shorthand: H x W pixels.
"""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from detectron2.engine import HookBase

import segvit
from helpers.added_classes import OLD, OLD_COLORS, plain, refusal, run, scores
from helpers.folders import COLORS, block_image, edit
from helpers.repository import PROJECT
from helpers.scripts import load_script
from helpers.tiny_models import use_channels, use_shrunk_pp
from segvit.continual.learnt_classes import learnt_classes
from segvit.engine import Trainer
from segvit.errors import UserError
from segvit.model_folder.files import read_model_folder


def cells(cfg):
    cfg.MODEL.VIT.REDUCTION = "cells"
    cfg.MODEL.VIT.EDGE.SELECTION, cfg.MODEL.VIT.EDGE.SHARE = "topk", 0.6


def detail(cfg):
    """With the loss of the encoder, whose classifier is of the old classes."""
    cfg.MODEL.SEGVIT.DETAIL.SOURCE, cfg.MODEL.SEGVIT.ENCODER_WEIGHT = "image", 1.0


def swin(cfg):
    vit = cfg.MODEL.VIT
    vit.NAME, vit.OUT_INDICES, vit.IMG_SIZE = "swin_tiny_patch4_window7_224", [0, 1], [32, 64]
    vit.INIT_STD, vit.FINAL_NORM = 0.0, False
    vit.PATCH_SIZE = vit.EMBED_DIM = vit.DEPTH = vit.NUM_HEADS = 0
    cfg.MODEL.BACKBONE.NAME = "HierarchicalViT"
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["stage1", "stage0"]


MODELS = {"plain": plain, "shrunk++": use_shrunk_pp, "cells": cells, "detail": detail, "swin": swin}


@pytest.mark.parametrize("kind", MODELS)
def test_old_scores_stay_and_new_classes_are_drawn(kind, write_model, folder, tmp_path, caplog):
    old = write_model(MODELS[kind])
    new = run(old, tmp_path / "more", "DATASETS.FOLDER", folder)
    image = block_image(3)
    before, after = scores(old, image), scores(new, image)
    assert after.shape[0] == 5 and np.array_equal(before, after[:3]) and after[3:].any()
    model = segvit.from_pretrained(new)
    assert model.classes.names == (*OLD, "grass", "road")
    assert model.classes.colors[:3] == OLD_COLORS and model.classes.colors[4] == COLORS[1]
    assert len(set(model.classes.colors)) == 5
    assert model.metrics["IoU-grass"] >= 0 and "IoU-tree" not in model.metrics
    assert "not used by the model" not in caplog.text


def test_a_model_is_evaluated_on_classes_that_it_has_not_learnt(write_model, folder, tmp_path):
    """The folder labels sky, which the model knows, and grass and road, which it does not."""
    run(write_model(), tmp_path / "unsure", "--eval-only", "DATASETS.FOLDER", folder)
    (step,) = json.loads((tmp_path / "unsure" / "report.json").read_text())["steps"]["continual"]
    assert all(0 <= step["metrics"][f"AUROC_{name}"] <= 100 for name in ("confidence", "score"))
    assert step["metrics"]["IoU-sky"] is not None and step["groups"] == [list(OLD)]
    assert not (tmp_path / "unsure" / "model").exists()
    assert "have a pixel of them and are trained on" not in (tmp_path / "unsure" / "log.txt").read_text()


def test_ids_of_no_class_are_refused_before_training_and_a_list_of_one_class_is_no_error(
    write_model, folder, tmp_path, capsys
):
    old, arguments = write_model(), ("DATASETS.FOLDER", folder)
    for path in (folder / "annotations").rglob("*.png"):
        edit(path, lambda labels: np.where(labels == 2, 77, labels).astype(np.uint8))
    answer = refusal(capsys, old, tmp_path / "more", *arguments)
    assert "77" in answer and "nothing was started" in answer and not (tmp_path / "more").exists()
    for path in (folder / "annotations").rglob("*.png"):
        edit(path, lambda labels: np.where(labels == 0, 0, 255).astype(np.uint8))
    (folder / "classes.json").write_text(json.dumps([{"name": "grass"}]))
    run(old, tmp_path / "more", *arguments)
    assert "every pixel would be predicted" not in (tmp_path / "more" / "log.txt").read_text()


class Interrupt(HookBase):
    """Sends SIGTERM to the process in the first iteration."""

    def before_step(self):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_third_group_is_added_and_an_interrupted_run_continues(write_model, folder, tmp_path, monkeypatch, capsys):
    image = block_image(3)
    road = ("--classes", "road", "DATASETS.FOLDER", folder, WEIGHTS, "[['road', 3.0]]")
    first = run(write_model(), tmp_path / "first", *road)
    third = ("DATASETS.FOLDER", folder, WEIGHTS, "['auto']")
    whole = run(first, tmp_path / "whole", *third)
    with monkeypatch.context() as patch:
        build_hooks = Trainer.build_hooks
        patch.setattr(Trainer, "build_hooks", lambda trainer: [*build_hooks(trainer), Interrupt()])
        with pytest.raises(SystemExit) as ended:
            run(first, tmp_path / "broken", *third)
    assert ended.value.code == os.EX_TEMPFAIL and not (tmp_path / "broken" / "model").exists()
    continued = run(first, tmp_path / "broken", *third)
    assert segvit.from_pretrained(continued).classes.names == (*OLD, "road", "grass")
    assert np.array_equal(scores(first, image), scores(continued, image)[:4])
    assert (whole / "model.safetensors").read_bytes() == (continued / "model.safetensors").read_bytes()
    (file,) = (tmp_path / "whole").rglob("class_weights.json")
    counted = {entry["class"]: entry["pixels"] for entry in json.loads(file.read_text())}
    assert counted.pop("grass") > 0 and not any(counted.values())
    # In the first run grass was a class that the model does not have.
    name = "mIoU_group1_all_labels"
    assert [name in segvit.from_pretrained(one).metrics for one in (first, whole)] == [True, False]
    assert "new, all labels" in (tmp_path / "first" / "report.txt").read_text()
    card = (first / "README.md").read_text()
    assert "| mIoU, 2 of 4 classes |" in card and "| mIoU of the newest classes, all labels |" in card
    # Another config is refused unless the folder may be overwritten; files of others stay in it.
    (tmp_path / "broken" / "continual" / "step_2" / "notes.txt").write_text("mine")
    assert "--overwrite" in refusal(capsys, first, tmp_path / "broken", *third, "SEED", "5")
    assert (run(first, tmp_path / "broken", "--overwrite", *third, "SEED", "5") / "model.safetensors").is_file()
    assert f"would delete {first}" in refusal(capsys, first, tmp_path / "first", "--overwrite", *third)
    assert (first / "model.safetensors").is_file()
    assert (tmp_path / "broken" / "continual" / "step_2" / "notes.txt").read_text() == "mine"
    # Nor is what is not of this command, in the model's own folder, or lost to labels that cannot be trained on.
    foreign = tmp_path / "foreign" / "model" / "model.safetensors"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    assert "no run of train_continual.py" in refusal(capsys, first, tmp_path / "foreign", "--overwrite", *third)
    assert "is of no run of train_continual.py: choose" in refusal(capsys, first, tmp_path / "foreign", *third)
    assert "is in the model folder" in refusal(capsys, first, first / "more", *third)
    broken = tmp_path / "broken_labels"
    shutil.copytree(folder, broken)
    for path in (broken / "annotations").rglob("*.png"):
        edit(path, lambda labels: np.where(labels == labels[0, 0], 77, labels).astype(np.uint8))
    answer = refusal(capsys, first, tmp_path / "broken", "--overwrite", "DATASETS.FOLDER", broken, WEIGHTS, "[]")
    assert "77" in answer and (tmp_path / "broken" / "model" / "model.safetensors").is_file() and foreign.is_file()
    # The finished command trains nothing.
    monkeypatch.setattr(Trainer, "train", lambda self: pytest.fail("trained again"))
    assert run(tmp_path / "first", tmp_path / "whole", *third) == whole


def mixing(cfg):
    cfg.MODEL.SEGVIT.OUTPUT = "mix"


def per_pixel(cfg):
    cfg.MODEL.SEM_SEG_HEAD.NAME, cfg.MODEL.SEGVIT.LOSS, cfg.MODEL.SEGVIT.OUTPUT = "PerPixelHead", "pixel", "softmax"
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2"]


def four_channels(cfg):
    use_channels(cfg, 4)


FOLDER = ("DATASETS.FOLDER", "{folder}")
WEIGHTS = "MODEL.SEGVIT.CLASS_WEIGHTS"
REFUSED = {
    "no dataset": (plain, (), "DATASETS.FOLDER /path"),
    "a missing folder": (plain, ("DATASETS.FOLDER", "{folder}/moon"), "moon does not exist"),
    "no new class": (plain, ("DATASETS.FOLDER", "{known}"), "the model knows all classes"),
    "another case": (plain, ("DATASETS.FOLDER", "{alike}"), "'Wall' of the dataset differs from the model's 'wall'"),
    "an unknown name": (plain, ("--classes", "moon", *FOLDER), "--classes moon: the dataset's classes are grass"),
    "a learnt name": (plain, ("--classes", "sky", *FOLDER), "--classes sky: the model has learnt that"),
    "votes of all queries": (mixing, FOLDER, "MODEL.SEGVIT.OUTPUT diagonal"),
    "one softmax": (per_pixel, FOLDER, "AttentionToMaskHead"),
    "other channels": (four_channels, FOLDER, "INPUT.CHANNELS"),
    "another decoder": (plain, (*FOLDER, "MODEL.SEGVIT.HIDDEN_DIM", "48"), "MODEL.SEGVIT.HIDDEN_DIM is 24"),
    "other pixels": (plain, (*FOLDER, "INPUT.FORMAT", "BGR"), "INPUT.FORMAT is 'RGB'"),
    "a baseline": (plain, ("--method", "joint", *FOLDER), "--method joint"),
    "a key that the command sets": (plain, (*FOLDER, "MODEL.SEGVIT.ENCODER_WEIGHT", "1.0"), "no effect"),
    "a weight of an old class": (plain, (*FOLDER, WEIGHTS, "[['road',2.0],['sky',2.0]]"), "has learnt sky already"),
    "a weight of no class": (plain, (*FOLDER, WEIGHTS, "[['moon',2.0]]"), "['moon']"),
    "iterations of steps": (plain, (*FOLDER, "MODEL.SEGVIT.CONTINUAL.ITERATIONS", "[0,9]"), "SOLVER.MAX_ITER"),
    "other weights": (plain, (*FOLDER, "MODEL.WEIGHTS", "{other}"), "leave the key out"),
    "another test size": (plain, (*FOLDER, "INPUT.MIN_SIZE_TEST", "48"), "INPUT.MIN_SIZE_TEST is 32"),
    "windows": (plain, (*FOLDER, "TEST.WINDOW.ENABLED", "True"), "TEST.WINDOW.ENABLED is False"),
    "several scales": (plain, (*FOLDER, "TEST.AUG.ENABLED", "True"), "TEST.AUG.ENABLED: steps are evaluated at one"),
    "no iteration": (plain, (*FOLDER, "SOLVER.MAX_ITER", "0"), "SOLVER.MAX_ITER"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_added_is_refused_before_anything_is_written(case, write_model, folder, tmp_path, capsys):
    for name, classes in {"known": ["tree", "sky", "wall"], "alike": ["tree", "sky", "Wall"]}.items():
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "classes.json").write_text(json.dumps([{"name": one} for one in classes]))
    change, arguments, message = REFUSED[case]
    folders = {name: tmp_path / name for name in ("folder", "known", "alike", "other")}
    words = (word.format(**folders) for word in arguments)
    assert message in refusal(capsys, write_model(change), tmp_path / "more", *words)
    assert not (tmp_path / "more").exists()


def test_a_run_needs_a_folder_and_classes_a_model(write_model, folder, tmp_path, capsys):
    occupied = tmp_path / "occupied"
    occupied.write_text("mine")
    command = load_script(PROJECT / "train_continual.py").command
    for arguments, message in {
        ("--model", str(write_model()), "DATASETS.FOLDER", str(folder)): "--output",
        ("--model", "continual/camvid_7-4", "--classes", "sky"): "--classes sky: name a trained model by --model",
        ("--model", str(write_model()), "--output", str(occupied), "DATASETS.FOLDER", str(folder)): "is a file, not a",
        ("--model", "continual/camvid_7-4", "--overwrite", "--resume"): "--overwrite starts a new run",
    }.items():
        with pytest.raises(SystemExit):
            command(list(arguments))
        assert message in capsys.readouterr().err


def test_a_model_that_was_trained_in_python_needs_a_schedule(folder, tmp_path):
    model = segvit.create_model("vit_tiny_patch16_224", classes=OLD, img_size=(32, 48))  # its output is "mix"
    model.save_pretrained(tmp_path / "old")
    program = load_script(PROJECT / "train_continual.py")
    arguments = ["--model", str(tmp_path / "old"), "--output", str(tmp_path / "more"), "DATASETS.FOLDER", str(folder)]
    arguments += ["MODEL.SEGVIT.OUTPUT", "diagonal"]
    with pytest.raises(UserError, match=r"SOLVER\.MAX_ITER \.\.\. SOLVER\.IMS_PER_BATCH \.\.\. SOLVER\.BASE_LR"):
        program.check(program.parse_args(arguments))
    schedule = ["SOLVER.MAX_ITER", "5", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.BASE_LR", "0.001"]
    args = program.parse_args([*arguments, *schedule])
    program.check(args)
    cfg = program.read_config(args)
    assert cfg.INPUT.CROP.SIZE == [32, 48] and cfg.MODEL.SEGVIT.CONTINUAL.ITERATIONS == [0, 5]


def test_images_that_label_the_new_classes_alone_give_a_warning(write_model, folder, tmp_path, caplog):
    for path in (folder / "annotations" / "train").iterdir():
        edit(path, lambda labels: np.where(labels == 1, labels, 255).astype(np.uint8))
    program = load_script(PROJECT / "train_continual.py")
    arguments = ["--model", str(write_model()), "--output", str(tmp_path / "more"), "--classes", "road"]
    cfg = program.read_config(program.parse_args([*arguments, "DATASETS.FOLDER", str(folder)]))
    line = program.describe_training(cfg)
    assert "road; 4 of 4 images" in line and "background: grass" in line
    assert "no pixel of these images is labelled as anything but road" in caplog.text


def test_classes_of_later_steps_give_their_ids_to_new_ones(write_model):
    """The model has learnt classes 2 and 0; class 1 is of a step that it has not reached."""

    def first_step(cfg):
        cfg.MODEL.SEM_SEG_HEAD.NAME = "ContinualHead"
        cfg.MODEL.SEGVIT.CONTINUAL.GROUPS, cfg.MODEL.SEGVIT.CONTINUAL.STEP = [[2, 0], [1]], 0

    learnt = learnt_classes(read_model_folder(write_model(first_step)))
    assert learnt.names == ("sky", "wall") and learnt.groups == ((1, 0),)
    after = learnt.with_group(["tree", "moon"])
    assert after.names == ("sky", "wall", "tree", "moon") and after.groups == ((1, 0), (2, 3))
