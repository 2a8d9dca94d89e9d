"""`LoadedModel`: a trained model with its config and classes, from a model folder or a config and a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yacs.config import CfgNode

from segvit.assembly.meta_arch import SegViT
from segvit.classes.class_list import ClassList
from segvit.config.device import require_device
from segvit.config.loading import pairs_of
from segvit.errors import UserError
from segvit.model_folder.files import read_model_folder
from segvit.model_folder.loading import folder_config, label_type, load_model

# The config of a prediction returns labels.
LABELS_ONLY: Mapping[str, Any] = {"TEST.LABELS_ONLY": True}


class LoadedModel(NamedTuple):
    """A model in evaluation mode that returns labels.

    Attributes:
        cfg: its config.
        model: it.
        classes: names and colours by class id.
    """

    cfg: CfgNode
    model: SegViT
    classes: ClassList


def load_folder(path: str | os.PathLike[str], opts: Sequence[Any] = ()) -> LoadedModel:
    """The model of a folder; needs no Detectron2.

    Args:
        path: of the folder.
        opts: KEY VALUE pairs that override its config.

    Raises:
        UserError: the folder is incomplete, or its files do not fit each other.
    """
    folder = read_model_folder(path)
    cfg = folder_config(folder, {**pairs_of(opts), **LABELS_ONLY})
    return LoadedModel(cfg, load_model(cfg), folder.classes)


def load_checkpoint(cfg: CfgNode, weights: str | os.PathLike[str] | None) -> LoadedModel:
    """The model of a config with a checkpoint, by default MODEL.WEIGHTS; needs Detectron2.

    Raises:
        UserError: there are no weights, they do not fit, or the device does not exist.
    """
    from segvit.checkpoint.checkpointer import SegViTCheckpointer
    from segvit.checkpoint.run_record import RunRecord
    from segvit.datasets.dataset_classes import class_list_of

    cfg = cfg.clone()
    cfg.defrost()
    if weights is not None:
        cfg.MODEL.WEIGHTS = os.fspath(weights)
    if not cfg.MODEL.WEIGHTS:
        raise UserError("there are no weights: name a checkpoint, as `weights` or as MODEL.WEIGHTS")
    require_device(cfg.MODEL.DEVICE)
    cfg.TEST.LABELS_ONLY = True
    model = SegViT(cfg, label_dtype=label_type(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)).to(cfg.MODEL.DEVICE).eval()
    SegViTCheckpointer(model, run=RunRecord.for_prediction(cfg)).load(cfg.MODEL.WEIGHTS)
    return LoadedModel(cfg, model, class_list_of(cfg))
