"""`LoadedModel`: a trained model with its config and classes, from a folder, an exported file, or a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from yacs.config import CfgNode

from segvit.assembly.components import build_windows
from segvit.assembly.meta_arch import SegViT
from segvit.classes.class_list import ClassList
from segvit.config.device import require_device
from segvit.config.loading import find_config, load_config
from segvit.config.overrides import pairs_of, with_overrides
from segvit.errors import UserError
from segvit.exported.exported_model import ExportedModel
from segvit.exported.files import is_exported, open_exported
from segvit.model_folder.files import predicts_alike, read_model_folder
from segvit.model_folder.finding import CHECKPOINTS, find_model
from segvit.model_folder.loading import folder_config, label_type, load_model
from segvit.model_folder.plain_config import plain_config
from segvit.modeling.postprocessing.image_sizes import Size

# The config of a prediction returns labels.
LABELS_ONLY: Mapping[str, Any] = {"TEST.LABELS_ONLY": True}
ONE_SCALE = (
    "TEST.AUG.ENABLED: one prediction uses one scale, and train_net.py --eval-only tests several: set it to False here"
)

# Keys of an exported file's prediction; all others were fixed by the export. Metadata give the first ones.
FILE_KEYS: Mapping[str, str] = {
    "INPUT.FORMAT": "pixel_format",
    "INPUT.MIN_SIZE_TEST": "short_side",
    "INPUT.MAX_SIZE_TEST": "max_long_side",
    "INPUT.MAX_LEVEL": "max_level",
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": "ignore_value",
}
FILE_OPTIONS = ("INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST", "INPUT.MAX_LEVEL", "TEST.CONFIDENCE_TEMPERATURE")


class LoadedModel(NamedTuple):
    """A model in evaluation mode that returns labels.

    Attributes:
        cfg: its config; of an exported file, the keys of its preprocessing.
        model: it.
        classes: names and colours by class id.
        metrics: of the weights, by name, in percent; empty if they are not known, or if keys change the prediction.
    """

    cfg: CfgNode
    model: SegViT | ExportedModel
    classes: ClassList
    metrics: Mapping[str, float] = MappingProxyType({})

    @property
    def fixed_size(self) -> Size | None:
        """(h, w) of a file that takes images of one size; None for any size, or if windows of it are."""
        if isinstance(self.model, ExportedModel) and self.model.windows is None:
            return self.model.file.fixed_size
        return None


def load(
    source: CfgNode | str | os.PathLike[str], weights: str | os.PathLike[str] | None, opts: Sequence[Any]
) -> LoadedModel:
    """The model of a folder, an exported file, or a config and a checkpoint, see `SegViTPredictor`."""
    if str(pairs_of(opts).get("TEST.AUG.ENABLED", False)) != "False":
        raise UserError(ONE_SCALE)
    if isinstance(source, CfgNode):
        return load_checkpoint(with_overrides(source, opts), weights)
    if Path(source).is_dir() or is_exported(source):
        if weights is not None:
            raise UserError(f"{source} is a whole model, which has weights: leave out {weights}")
        return load_folder(find_model(source), opts) if Path(source).is_dir() else load_exported(source, opts)
    if Path(source).suffix in CHECKPOINTS:
        find_model(source)  # raises an error that names its folder, or the command that makes one of it
    return load_checkpoint(load_config(find_config(os.fspath(source)), opts, trains=False), weights)


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
    return LoadedModel(cfg, load_model(cfg), folder.classes, folder.metrics_with(cfg))


def load_exported(path: str | os.PathLike[str], opts: Sequence[Any] = ()) -> LoadedModel:
    """The model of an ONNX or OpenVINO file, on the CPU; needs no Detectron2.

    Args:
        path: of the file.
        opts: KEY VALUE pairs of `FILE_OPTIONS` and TEST.WINDOW.

    Raises:
        UserError: the file cannot be read, or a key was fixed when it was exported.
    """
    file = open_exported(path)
    values = pairs_of(opts)
    if str(values.pop("MODEL.DEVICE", "cpu")) != "cpu":
        raise UserError(f"MODEL.DEVICE: {path} runs on the CPU: leave the key out")
    for key in values:
        if key not in FILE_OPTIONS and not key.startswith("TEST.WINDOW."):
            raise UserError(f"{key} was fixed when {path} was exported: export the model anew with it")
    names = file.metadata["class_names"]
    carried = {key: file.metadata[name] for key, name in FILE_KEYS.items()} | file.metadata.get("config", {})
    own = {"MODEL.SEM_SEG_HEAD.NUM_CLASSES": len(names), **LABELS_ONLY}
    cfg = plain_config(carried, {**own, **values})
    colors = tuple((color[0], color[1], color[2]) for color in file.metadata["palette"])
    classes = ClassList(names=tuple(names), colors=colors, colors_given=True)
    model = ExportedModel(file, windows=build_windows(cfg), label_dtype=label_type(len(names)))
    metrics = file.metadata.get("metrics", {}) if predicts_alike(plain_config(carried, own), cfg) else {}
    return LoadedModel(cfg, model, classes, metrics)


def load_checkpoint(cfg: CfgNode, weights: str | os.PathLike[str] | None) -> LoadedModel:
    """The model of a config with a checkpoint, by default MODEL.WEIGHTS; needs Detectron2.

    Raises:
        UserError: there are no weights, they do not fit, the config asks for several scales, or the device does not
            exist.
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
    if cfg.TEST.AUG.ENABLED:
        raise UserError(ONE_SCALE)
    require_device(cfg.MODEL.DEVICE)
    cfg.TEST.LABELS_ONLY = True
    model = SegViT(cfg, label_dtype=label_type(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)).to(cfg.MODEL.DEVICE).eval()
    SegViTCheckpointer(model, run=RunRecord.for_prediction(cfg)).load(cfg.MODEL.WEIGHTS)
    return LoadedModel(cfg, model, class_list_of(cfg))


@contextmanager
def evaluation_mode(model: SegViT | ExportedModel) -> Iterator[None]:
    """The model in evaluation mode inside `with`, and each of its modules afterwards as before."""
    if isinstance(model, ExportedModel) or not model.training:
        yield
        return
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
