"""A config is built once without weights, data or files, so that what cannot run is refused before anything is written.

Building on the meta device takes about a second, whatever the size of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from segvit.config.continual_step import continual_step
from segvit.config.device import require_device
from segvit.d2.multi_scale import SemanticSegmentorWithTTA
from segvit.d2.solver import build_lr_scheduler, build_optimizer
from segvit.datasets import require_datasets
from segvit.engine.trainer import build_mapper
from segvit.errors import UserError


def rehearse(cfg: CfgNode, *, trains: bool) -> None:
    """Build the model and, for training, what is around it.

    Raises:
        UserError: naming the key, where the device is not there, a part does not exist or parts do not fit.
    """
    require_device(cfg.MODEL.DEVICE)
    if not cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES:
        raise UserError("MODEL.SEM_SEG_HEAD.IN_FEATURES is empty: name the stages that the head reads, deepest first")
    model = _build_on_meta(cfg)
    build_mapper(cfg, is_train=trains)
    if trains:
        _require_two_classes(cfg)
        _require_crop(cfg, model.backbone.img_size)
        build_lr_scheduler(cfg, build_optimizer(cfg, model))
    elif cfg.TEST.AUG.ENABLED:
        SemanticSegmentorWithTTA(cfg, model)


def require_device_and_data(cfg: CfgNode) -> None:
    """Raise UserError where the device or the data sets of a config are not there, or these do not fit its model."""
    require_device(cfg.MODEL.DEVICE)
    require_datasets((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    require_same_classes(cfg)


def require_same_classes(cfg: CfgNode, names: Sequence[str] = ()) -> None:
    """Raise UserError where data sets have another number of classes, or another ignore value, than the model.

    Continual configs may name classes of their own, by which labels are then matched.

    Args:
        names: of the data sets; by default all of the config.
    """
    head, step = cfg.MODEL.SEM_SEG_HEAD, continual_step(cfg)
    if step is not None and step.class_names:
        return
    for name in names or (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        meta = MetadataCatalog.get(name)
        theirs = {
            "NUM_CLASSES": len(meta.get("stuff_classes", ())) or head.NUM_CLASSES,
            "IGNORE_VALUE": meta.get("ignore_label", head.IGNORE_VALUE),
        }
        for key, value in theirs.items():
            if head[key] != value:
                raise UserError(
                    f"MODEL.SEM_SEG_HEAD.{key} is {head[key]}, but that of data set {name!r} is {value}: set it to "
                    f"{value}"
                )


def _build_on_meta(cfg: CfgNode) -> torch.nn.Module:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE, cfg.MODEL.VIT.PRETRAINED = "meta", ""
    with torch.device("meta"):
        return build_model(cfg)


def _require_two_classes(cfg: CfgNode) -> None:
    """With one class, every pixel is predicted as it, and its IoU is 100."""
    if cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 1:
        raise UserError(
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES is 1: every pixel would be predicted as this class. List two classes, the "
            "background first; tools/check_dataset.py FOLDER --convert-to NEW_FOLDER --map-ids 255=1 converts masks of "
            "0 and 255"
        )


def _require_crop(cfg: CfgNode, size: tuple[int, int]) -> None:
    """The crop may not exceed what positions, and the queries of Shrunk, are made for."""
    crop = cfg.INPUT.CROP
    if crop.ENABLED and crop.TYPE == "absolute" and any(edge > limit for edge, limit in zip(crop.SIZE, size)):
        raise UserError(
            f"INPUT.CROP.SIZE {list(crop.SIZE)} exceeds the {size[0]} x {size[1]} pixels that the positions of the "
            "model, and the queries of Shrunk, are made for: set MODEL.VIT.IMG_SIZE to the crop"
        )
