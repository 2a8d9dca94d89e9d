"""`preflight`: build model, mapper and optimizer on the meta device: a bad config fails before anything is written.

It takes about a second, whatever the size of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from segvit.assembly.encoder_weights import without_pretrained
from segvit.checkpoint.checkpointer import SegViTCheckpointer, require_learnt_reduction
from segvit.checkpoint.run_record import RunRecord
from segvit.config.continual_step import continual_step
from segvit.config.device import require_device, require_number_format
from segvit.config.validation import value_of
from segvit.d2.multi_scale import SemanticSegmentorWithTTA
from segvit.d2.solver import build_lr_scheduler, build_optimizer
from segvit.data.class_crop import crop_settings
from segvit.data.dataset_mapper import build_mapper
from segvit.data.samplers import require_sampler
from segvit.datasets import require_datasets
from segvit.errors import UserError
from segvit.tracking.event_writer import require_tracker


def preflight(cfg: CfgNode, *, trains: bool) -> None:
    """Check a config by building from it; datasets and weights are not read.

    Args:
        cfg: the config.
        trains: also build the optimizer and its schedule. False for evaluation.

    Raises:
        UserError: naming the key: the device or a component does not exist, or components do not fit together.
    """
    device = require_device(cfg.MODEL.DEVICE)
    # The meta device, on which the model is built, has all number formats.
    uses_autocast = trains and value_of(cfg, "SOLVER.AMP.ENABLED")
    for key in ("TEST.PRECISION", *(("SOLVER.AMP.PRECISION",) if uses_autocast else ())):
        require_number_format(value_of(cfg, key), device.type, key=key)
    _require_free_ignore_value(cfg)
    if not cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES:
        raise UserError("MODEL.SEM_SEG_HEAD.IN_FEATURES is empty: name the stages that the head reads, deepest first")
    model = _build_on_meta(cfg)
    build_mapper(cfg, is_train=trains)
    if trains:
        _require_two_classes(cfg)
        require_tracker(cfg)
        require_sampler(cfg)
        backbone: Any = model.backbone
        _require_crop(cfg, backbone.img_size)
        if not cfg.MODEL.WEIGHTS:
            require_learnt_reduction(model, model.state_dict(), "")
            _require_first_step(cfg)
        build_lr_scheduler(cfg, build_optimizer(cfg, model))
    elif cfg.TEST.AUG.ENABLED:
        SemanticSegmentorWithTTA(cfg, model)


def _require_first_step(cfg: CfgNode) -> None:
    """Raise UserError, without MODEL.WEIGHTS, for a step that freezes what earlier ones have learnt."""
    step = continual_step(cfg)
    if step is not None and step.index and cfg.MODEL.SEM_SEG_HEAD.NAME == "ContinualHead":
        raise UserError(
            f"MODEL.WEIGHTS is empty, and step {step.index} trains beside a frozen encoder and frozen older groups: "
            f"name the model of step {step.index - 1}, such as model_final.pth of its run"
        )


def require_fitting_start(first: CfgNode, cfg: CfgNode) -> None:
    """Check that a training can begin with the final weights of a first one, by the names and shapes of both models.

    Raises:
        UserError: they do not fit, the order of classes differs, or one is for another device.
    """
    if first.MODEL.DEVICE != cfg.MODEL.DEVICE:
        raise UserError(
            f"MODEL.DEVICE {first.MODEL.DEVICE} in the config of SOLVER.FIRST_CONFIG and {cfg.MODEL.DEVICE} in the "
            "other one: set MODEL.DEVICE on the command line, for both"
        )
    weights = _build_on_meta(first).state_dict()
    checkpointer = SegViTCheckpointer(_build_on_meta(cfg), strict=False, run=RunRecord.of(cfg))
    origin = f"The model that SOLVER.FIRST_CONFIG trains into {cfg.MODEL.WEIGHTS}"
    checkpointer.require_fit({"model": weights, **RunRecord.of(first).content()}, origin)


def require_device_and_data(cfg: CfgNode) -> None:
    """Raise UserError if the device or a dataset of the config does not exist, or a dataset does not fit the model."""
    require_device(cfg.MODEL.DEVICE)
    require_datasets((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    require_same_classes(cfg)


def require_same_classes(cfg: CfgNode, names: Sequence[str] = ()) -> None:
    """Check that datasets have the model's number of classes and ignore value, and the same class names.

    Continual configs that name their own classes are not checked: their labels are matched by name.

    Args:
        cfg: the config.
        names: of the datasets; by default all of the config.

    Raises:
        UserError: naming the key and the dataset.
    """
    head = cfg.MODEL.SEM_SEG_HEAD
    step = continual_step(cfg)
    if step is not None and step.class_names:
        return
    for name in names or (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        metadata = MetadataCatalog.get(name)
        of_dataset = {
            "NUM_CLASSES": len(metadata.get("stuff_classes", ())) or head.NUM_CLASSES,
            "IGNORE_VALUE": metadata.get("ignore_label", head.IGNORE_VALUE),
        }
        for key, value in of_dataset.items():
            if head[key] != value:
                raise UserError(
                    f"MODEL.SEM_SEG_HEAD.{key} is {head[key]}, but dataset {name!r} has {value}: set it to {value}"
                )
    _require_one_class_list(names or (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))


def _require_one_class_list(names: Sequence[str]) -> None:
    """Raise UserError, naming the first difference, if datasets that are used together have other class names."""
    known = [(name, list(MetadataCatalog.get(name).get("stuff_classes", ()))) for name in names]
    known = [(name, classes) for name, classes in known if classes]
    for name, classes in known[1:]:
        first, expected = known[0]
        for index, (there, here) in enumerate(zip(expected, classes)):
            if there != here:
                raise UserError(
                    f"datasets {first!r} and {name!r} do not have the same classes: id {index} is {there!r} in the "
                    f"first and {here!r} in the second. Bring both lists into one order"
                )


def _build_on_meta(cfg: CfgNode) -> torch.nn.Module:
    cfg = without_pretrained(cfg)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_model(cfg)


def _require_free_ignore_value(cfg: CfgNode) -> None:
    """Raise UserError if the ignore value is a class id: no pixel of this class would be trained or counted."""
    head = cfg.MODEL.SEM_SEG_HEAD
    if 0 <= head.IGNORE_VALUE < head.NUM_CLASSES:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE {head.IGNORE_VALUE} is a class id of MODEL.SEM_SEG_HEAD.NUM_CLASSES "
            f"{head.NUM_CLASSES}: set the dataset's ignore_label, and this key, to an id that no class has, such as "
            "65535"
        )


def _require_two_classes(cfg: CfgNode) -> None:
    """Raise UserError for a single class: every pixel would be predicted as it, and its IoU would be 100."""
    if cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 1:
        raise UserError(
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES is 1: every pixel would be predicted as this class. List two classes, the "
            "background first; tools/check_dataset.py FOLDER --convert-to NEW_FOLDER --map-ids 255=1 converts masks of "
            "0 and 255"
        )


def _require_crop(cfg: CfgNode, image_size: tuple[int, int]) -> None:
    """Raise UserError if the size of crops does not fit their type, or exceeds the image size of the model."""
    crop = crop_settings(cfg)
    if crop is None:
        return
    in_pixels = crop.kind.startswith("absolute")
    fits = all(type(side) is int for side in crop.size) if in_pixels else max(crop.size) <= 1
    if not fits:
        expected = "whole numbers of pixels" if in_pixels else "fractions of the image, at most 1.0"
        raise UserError(f"INPUT.CROP.SIZE {list(crop.size)}: with INPUT.CROP.TYPE {crop.kind!r} it takes {expected}")
    if crop.kind == "absolute_range" and crop.size[0] > crop.size[1]:
        raise UserError(
            f"INPUT.CROP.SIZE {list(crop.size)}: with INPUT.CROP.TYPE 'absolute_range' the shorter is first"
        )
    if crop.kind == "absolute" and any(side > limit for side, limit in zip(crop.size, image_size)):
        raise UserError(
            f"INPUT.CROP.SIZE {list(crop.size)} exceeds {list(image_size)}, the image size that the position "
            "embedding and the queries of Shrunk are built for: set MODEL.VIT.IMG_SIZE to the crop"
        )
