"""A model folder of three classes, and train_continual.py that adds classes to it."""

import pytest
import torch
from detectron2.modeling import build_model

import segvit
from helpers.folders import COLORS
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.classes.class_list import ClassList
from segvit.model_folder.card import TrainingRecord
from segvit.model_folder.files import write_model_folder

OLD = ("sky", "tree", "wall")
# The last is that of grass in the folder, too.
OLD_COLORS = ((1, 2, 3), (200, 100, 50), COLORS[0])
# A model folder says nothing of the machine.
ALONE = ("DATALOADER.NUM_WORKERS", "0")


def plain(cfg):
    """As the tiny config is."""


def write_old_model(tiny_cfg, folder, change=plain):
    """A model folder with random weights, of three classes."""
    cfg = tiny_cfg.clone()
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.MODEL.SEGVIT.OUTPUT = len(OLD), "diagonal"
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = 0, False
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 32, 48
    solver = cfg.SOLVER
    solver.IMS_PER_BATCH, solver.MAX_ITER, solver.BASE_LR, solver.WARMUP_ITERS = 2, 2, 1e-2, 0
    solver.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD = 1, 0
    change(cfg)
    torch.manual_seed(5)
    weights = build_model(cfg).state_dict()
    learnt = "sem_seg_head.decoder.detail.query_proj.weight"  # a new one is 0
    if learnt in weights:
        torch.nn.init.normal_(weights[learnt], std=0.3)
    return write_model_folder(
        folder,
        cfg=cfg,
        weights=weights,
        classes=ClassList(OLD, OLD_COLORS, colors_given=True),
        metrics={},
        record=TrainingRecord(),
    )


def run(model, output, *arguments):
    """The command in this process -> its model folder."""
    load_script(PROJECT / "train_continual.py").command(
        ["--model", str(model), "--output", str(output), *map(str, arguments), *ALONE]
    )
    return output / "model"


def refusal(capsys, model, output, *arguments):
    """What the command answers to bad arguments."""
    with pytest.raises(SystemExit) as ended:
        run(model, output, *arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def scores(model, image):
    return segvit.from_pretrained(model).predict(image).scores
