"""The files of a model folder: their names, reading and atomic writing.

config.yaml         every key that SegViT reads, preprocessing included; no path of a machine
model.safetensors   the weights, under the names that they have in checkpoints
classes.json        names and RGB colours by class id, the ignored label and the label of background
metrics.json        the metrics of these weights; {} if they were not evaluated
README.md           the model card
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
import yaml
from yacs.config import CfgNode

from segvit.classes.class_list import MODEL_CLASSES, ClassList, read_model_classes
from segvit.config.continual_step import continual_step
from segvit.config.loading import MODEL_CONFIG, MODEL_WEIGHTS, config_layers
from segvit.config.unread_keys import flat
from segvit.errors import UserError
from segvit.model_folder.card import TrainingRecord, model_card
from segvit.model_folder.plain_config import nested, plain_config, portable_keys
from segvit.model_folder.replacement import replaced_folder, write_tensors
from segvit.output_files import atomic_write_text

logger = logging.getLogger(__name__)

# The model folder in the OUTPUT_DIR of a run.
MODEL_FOLDER = "model"
CONFIG, WEIGHTS = MODEL_CONFIG, MODEL_WEIGHTS
CLASSES, METRICS, CARD = MODEL_CLASSES, "metrics.json", "README.md"
FILES = (CONFIG, WEIGHTS, CLASSES, METRICS, CARD)
# Keys by which the same weights predict other labels, as shell patterns, and exceptions: how they were trained, and how
# the same is computed.
OF_PREDICTION = (
    *("MODEL.VIT.*", "MODEL.SEGVIT.*", "MODEL.SEM_SEG_HEAD.IN_FEATURES", "MODEL.PIXEL_*", "TEST.WINDOW.*"),
    *("INPUT.M??_SIZE_TEST", "INPUT.FORMAT", "INPUT.CHANNELS", "INPUT.LEVELS", "INPUT.MAX_LEVEL", "INPUT.PERCENTILES"),
)
OF_TRAINING = (
    *("MODEL.VIT.PRETRAINED*", "MODEL.VIT.RESAMPLE_PATCHES", "MODEL.VIT.INIT_STD", "MODEL.VIT.DROP_PATH_RATE"),
    *("MODEL.VIT.GRADIENT_CHECKPOINTING", "MODEL.VIT.FROZEN*", "MODEL.VIT.FUSED_ATTENTION", "MODEL.SEGVIT.INIT_STD"),
    *("MODEL.SEGVIT.DROPOUT", "MODEL.SEGVIT.LOSS", "MODEL.SEGVIT.MASK_LOSS_STRIDE", "MODEL.SEGVIT.*_WEIGHT"),
    *("MODEL.SEGVIT.CLASS_WEIGHTS", "MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS", "MODEL.SEGVIT.CONTINUAL.ITERATIONS"),
    *("TEST.WINDOW.BATCH_SIZE", "TEST.WINDOW.ACCUMULATE_ON_CPU"),
)
# Begins the names of metrics of one class.
OF_CLASS = ("IoU-", "ACC-", "BoundaryIoU-")


@dataclass(frozen=True)
class ModelFolder:
    """A model folder that has been read, but for its weights.

    Attributes:
        path: of the folder.
        cfg: see `plain_config`.
        classes: names and colours by class id.
        metrics: by name, such as "mIoU"; in percent.
        card: the text of README.md.
    """

    path: Path
    cfg: CfgNode
    classes: ClassList
    metrics: Mapping[str, float]
    card: str

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS

    def metrics_with(self, cfg: CfgNode) -> Mapping[str, float]:
        """The metrics, if a config for these weights predicts the labels that they were measured on; else none."""
        return self.metrics if predicts_alike(self.cfg, cfg) else {}


def predicts_alike(first: CfgNode, second: CfgNode) -> bool:
    """Whether two configs of the same weights predict the same labels, but for rounding."""
    values, others = flat(first), flat(second)
    return all(others[key] == value for key, value in values.items() if _changes_labels(key))


def _changes_labels(key: str) -> bool:
    of_prediction, of_training = (
        any(fnmatchcase(key, pattern) for pattern in patterns) for patterns in (OF_PREDICTION, OF_TRAINING)
    )
    return of_prediction and not of_training


def is_model_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder with a config and weights."""
    return Path(path, CONFIG).is_file() and Path(path, WEIGHTS).is_file()


def read_model_folder(path: str | os.PathLike[str]) -> ModelFolder:
    """Read the files of a model folder.

    Raises:
        UserError: a file is missing or malformed, or the files contradict each other.
    """
    folder = Path(path)
    missing = [name for name in (CONFIG, WEIGHTS, CLASSES) if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} is no model folder: it has no {' and no '.join(missing)}. pack_model.py makes one of a "
            "checkpoint"
        )
    layers = [layer for _, layer in config_layers(folder / CONFIG)]
    cfg = plain_config(*layers, origin=f"{folder / CONFIG}: ")
    classes = read_model_classes(folder / CLASSES)
    number = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if len(classes.names) != number:
        raise UserError(
            f"{folder / CLASSES} has {len(classes.names)} classes, but MODEL.SEM_SEG_HEAD.NUM_CLASSES is {number}"
        )
    metrics = _read_metrics(folder / METRICS, classes)
    return ModelFolder(path=folder, cfg=cfg, classes=classes, metrics=metrics, card=_text(folder / CARD))


def _read_metrics(path: Path, classes: ClassList) -> dict[str, float]:
    """The metrics; none, with a warning, if they are those of other classes. Raises UserError if they are malformed."""
    try:
        metrics = json.loads(_text(path) or "{}")
        values = {str(name): float(value) for name, value in metrics.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f'{path} must hold names and numbers, such as {{"mIoU": 61.2}}: {error}') from error
    others = [
        name
        for name in values
        for kind in OF_CLASS
        if name.startswith(kind) and name.removeprefix(kind) not in classes.names
    ]
    if others:
        logger.warning("%s is of a model with other classes (%s): its metrics are left out", path, others[0])
    return {} if others else values


def write_model_folder(
    folder: str | os.PathLike[str],
    *,
    cfg: CfgNode,
    weights: Mapping[str, torch.Tensor],
    classes: ClassList,
    metrics: Mapping[str, float],
    record: TrainingRecord,
    name: str = "",
    card: str = "",
) -> Path:
    """Write a model folder, complete or not at all; an existing model folder is replaced, but keeps other files.

    The card gets the folder's name or `name`, unless its text is given. Metrics that are NaN, as those of classes
    without a pixel, are left out.

    Raises:
        UserError: the folder exists and holds something else.
        OSError: it cannot be written.
    """
    target = Path(folder).resolve()
    if target.exists() and not is_model_folder(target) and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists and is no model folder: choose another path")
    values = portable_keys(cfg)
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
    if os.fsencode(target).decode("utf-8", "replace") != str(target):
        raise UserError(f"{str(target)!r} is not in UTF-8: safetensors cannot read such a path")
    with replaced_folder(target, own=FILES) as temporary:
        (temporary / CONFIG).write_text(_config_text(values), encoding="utf-8")
        write_tensors(weights, temporary / WEIGHTS)
        _write_json(temporary / CLASSES, _class_entries(classes, values["MODEL.SEM_SEG_HEAD.IGNORE_VALUE"]))
        _write_json(temporary / METRICS, metrics)
        step = continual_step(cfg)
        later = [] if step is None else [classes.names[class_id] for class_id in step.later_classes]
        card = card or model_card(
            name=name or target.name, values=values, classes=classes, metrics=metrics, record=record, later=later
        )
        (temporary / CARD).write_text(card, encoding="utf-8")
    return target


def set_folder_keys(folder: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Change keys of a model folder's config, atomically. Raises UserError for a value that is out of range."""
    read = read_model_folder(folder)
    cfg = plain_config(portable_keys(read.cfg), values, origin=f"{folder}: ")
    atomic_write_text(read.path / CONFIG, _config_text(portable_keys(cfg)))


def _config_text(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(nested(values), default_flow_style=None, width=120, allow_unicode=True)


def _class_entries(classes: ClassList, ignore_value: int) -> dict[str, Any]:
    entries = [{"name": name, "color": list(color)} for name, color in zip(classes.names, classes.colors, strict=True)]
    return {"classes": entries, "ignore_value": ignore_value, "background": len(entries)}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
