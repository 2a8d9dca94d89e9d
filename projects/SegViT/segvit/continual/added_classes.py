"""`added_classes_config`: the config by which a finished model learns new classes of a dataset, as one more group."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from segvit.assembly.heads.class_weights import KEY as CLASS_WEIGHTS
from segvit.assembly.heads.class_weights import weights_by_id
from segvit.checkpoint.run_record import may_change
from segvit.command_line.model_arguments import config_file_of
from segvit.config.continual_step import KEY, dataset_classes
from segvit.config.overrides import words_of
from segvit.config.unread_keys import flat
from segvit.config.validation import has_key, value_of
from segvit.continual.learnt_classes import HEAD, LearntClasses, learnt_classes, new_classes, step_of
from segvit.datasets import require_datasets
from segvit.engine.auto_scale import scale_to_processes
from segvit.engine.launch_options import number_of_processes, run_config
from segvit.errors import END_OF_COMMAND, UserError
from segvit.experiments.cached_run import merge
from segvit.model_folder.files import ModelFolder, is_model_folder, read_model_folder

OUTPUT, LOSS, IMAGE_SIZE = "MODEL.SEGVIT.OUTPUT", "MODEL.SEGVIT.LOSS", "MODEL.VIT.IMG_SIZE"
# With one of these keys, a command trains the steps of its own protocol, from the weights of the model.
PROTOCOL_KEYS = (f"{KEY}.PROTOCOL", f"{KEY}.GROUPS")
# Keys that this file sets; others of the model may change if they are of the new group or of the training alone.
OWN_KEYS = (
    *(HEAD, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", OUTPUT, "MODEL.WEIGHTS", "MODEL.DEVICE"),
    *(f"{KEY}.{name}" for name in ("PROTOCOL", "GROUPS", "CLASS_ORDER", "CLASSES", "STEP", "BACKGROUND_CLASS")),
)
# The other continual keys describe the decoders of all groups but the first, and are fixed once there is one.
OF_NEW_GROUP = (
    CLASS_WEIGHTS,
    *(f"{KEY}.{name}" for name in ("SELECTION", "ITERATIONS", "COMPETITION_WEIGHT", "CALIBRATION")),
)
# What a recipe says of the training; a model that was trained in Python has none.
SCHEDULE = ("SOLVER.MAX_ITER", "SOLVER.IMS_PER_BATCH", "SOLVER.BASE_LR")
# How the model is used. They change scores; each command that uses the new model takes them.
USE = ("INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST", "TEST.PRECISION", "TEST.WINDOW.", "TEST.CONFIDENCE_TEMPERATURE")
# How the same function is computed: another way changes the last bits of scores.
COMPUTATION = ("MODEL.VIT.FUSED_ATTENTION", "MODEL.COMPILE")
# How pixels become the input of the model.
PIXELS = ("INPUT.FORMAT", "INPUT.CHANNELS", "INPUT.LEVELS", "INPUT.MAX_LEVEL", "INPUT.PERCENTILES")


def adds_classes(args: argparse.Namespace) -> bool:
    """Whether a command line of train_continual.py adds classes to a model folder, and has no protocol of its own."""
    return is_model_folder(config_file_of(args)) and not set(PROTOCOL_KEYS) & set(args.opts[::2])


def added_classes_config(args: argparse.Namespace) -> CfgNode:
    """The config of all groups of a model, which are finished, and of one more, which is to be trained.

    Args:
        args: of train_continual.py: a model folder, `classes` (names to learn; empty for all that are new), and the
            dataset among the overrides.

    Raises:
        UserError: the model cannot keep its scores beside a further group, the dataset has no class to learn, or an
            override would change the old classes.
    """
    model = read_model_folder(config_file_of(args))
    given = dict(zip(args.opts[::2], args.opts[1::2]))
    require_own_queries(model, output=str(given.get(OUTPUT, value_of(model.cfg, OUTPUT))))
    if "MODEL.WEIGHTS" in given:
        raise UserError(
            f"MODEL.WEIGHTS {given['MODEL.WEIGHTS']}: the old classes are those of {model.path}, with its weights: "
            "leave the key out"
        )
    learnt = learnt_classes(model)
    # With the classes of the model alone, to register the dataset and read its classes.
    keys = {**_dataset_keys(args, given), **learnt.config_keys(), "MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS": True}
    keys[CLASS_WEIGHTS] = []  # those of the recipe are of old classes
    if not has_key(model.cfg, SCHEDULE[0]) and not args.eval_only:
        keys |= _recipe_keys(model, given)
    cfg = run_config(argparse.Namespace(**{**vars(args), "opts": [*words_of(keys), *args.opts]}))
    require_no_own_keys(cfg, learnt)
    cfg = scale_to_processes(cfg, number_of_processes(args))
    require_datasets(cfg.DATASETS.TRAIN)
    new = new_classes(learnt.names, dataset_classes(cfg.DATASETS.TRAIN[0]), args.classes)
    iterations = [0] * len(learnt.groups) + [cfg.SOLVER.MAX_ITER]
    cfg = merge(cfg, {**learnt.with_group(new).config_keys(), f"{KEY}.ITERATIONS": iterations})
    require_weights_of_new_classes(cfg)
    if Path(cfg.OUTPUT_DIR).resolve().is_relative_to(model.path.resolve()):
        raise UserError(f"--output {cfg.OUTPUT_DIR} is in the model folder {model.path}: choose another one")
    require_same_model(cfg, model, num_groups=len(learnt.groups), trains=not args.eval_only)
    return cfg


def require_own_queries(model: ModelFolder, output: str) -> None:
    """Raise UserError unless every class is scored by its own query alone, whatever other classes there are."""
    if value_of(model.cfg, LOSS) != "mask" or model.cfg.MODEL.SEM_SEG_HEAD.NAME not in (
        "AttentionToMaskHead",
        "ContinualHead",
    ):
        raise UserError(
            f"{model.path} has {HEAD} {model.cfg.MODEL.SEM_SEG_HEAD.NAME!r} and {LOSS} "
            f"{value_of(model.cfg, LOSS)!r}: its classes share one softmax, to which none can be added. Train a "
            "model with AttentionToMaskHead and 'mask'"
        )
    if output != "diagonal":
        raise UserError(
            f"{model.path} has {OUTPUT} {output!r}, in which every query votes for every class: a new one would change "
            f"old scores. To score each class by its own query from now on, {END_OF_COMMAND}{OUTPUT} diagonal; "
            "training is the same for both, and train_net.py --eval-only with this key measures the difference"
        )


def require_no_own_keys(cfg: CfgNode, learnt: LearntClasses) -> None:
    """Raise UserError if an override gives a key of the groups that this command sets itself another value."""
    values = flat(cfg)
    changed = [key for key, value in learnt.config_keys().items() if values[key] != value]
    if changed:
        key = changed[0]
        raise UserError(
            f"{key} {values[key]!r} would have no effect: the command sets it by the model and the new classes, which "
            "--classes names, and trains these for SOLVER.MAX_ITER iterations: leave it out"
        )


def require_weights_of_new_classes(cfg: CfgNode) -> None:
    """Raise UserError if MODEL.SEGVIT.CLASS_WEIGHTS names a class that is not learnt now, or none."""
    step = step_of(cfg)
    old = [step.class_names[class_id] for class_id in weights_by_id(cfg) if class_id not in step.new_classes]
    if old:
        raise UserError(
            f"{CLASS_WEIGHTS}: the model has learnt {', '.join(old)} already, and trains the new classes alone: leave "
            "the weights of others out"
        )


def require_same_model(cfg: CfgNode, model: ModelFolder, *, num_groups: int, trains: bool) -> None:
    """Raise UserError if a key of the config would change what the model's groups compute, or with `trains` return."""
    before, after = flat(model.cfg), flat(cfg)
    fixed = ("MODEL.", *PIXELS, *(USE if trains else ()))
    free = {*OWN_KEYS, *OF_NEW_GROUP}
    if num_groups == 1:
        free |= {key for key in before if key.startswith(f"{KEY}.")}
    changed = [
        key
        for key, value in before.items()
        if key.startswith(fixed) and key in after and after[key] != value
        if key not in free and (key.startswith(COMPUTATION) or not may_change(key))
    ]
    if changed:
        key = changed[0]
        raise UserError(
            f"{key} is {before[key]!r} in {model.path}, and {after[key]!r} would change the outputs of its classes: "
            "leave it out"
        )


def _dataset_keys(args: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """DATASETS.TRAIN and TEST of a folder, which overrides may replace."""
    if "DATASETS.FOLDER" in given:
        return {"DATASETS.TRAIN": ("folder_train",), "DATASETS.TEST": ("folder_val",)}
    if "DATASETS.TRAIN" in given:
        return {}
    raise UserError(
        f"{args.model or args.config_file} is trained, and its classes stay: to add others, name a folder that labels "
        f"them: {END_OF_COMMAND}DATASETS.FOLDER /path/to/it"
    )


def _recipe_keys(model: ModelFolder, given: dict[str, Any]) -> dict[str, Any]:
    """Crops of the model's image size, for a model without a recipe. Raises UserError unless the schedule is given."""
    missing = [key for key in SCHEDULE if key not in given]
    if missing:
        raise UserError(
            f"{model.path} was trained in Python and holds no recipe: {END_OF_COMMAND}{' ... '.join(missing)} ..., "
            "such as 2000 iterations of 4 images with a rate of 0.0001"
        )
    height, width = value_of(model.cfg, IMAGE_SIZE)
    return {
        "INPUT.MIN_SIZE_TRAIN": (min(height, width),),
        "INPUT.MAX_SIZE_TRAIN": max(height, width),
        "INPUT.CROP.ENABLED": True,
        "INPUT.CROP.TYPE": "absolute",
        "INPUT.CROP.SIZE": [height, width],
    }
