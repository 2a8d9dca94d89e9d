"""The files of a model folder: their names, reading and atomic writing.

config.yaml         every key that SegViT reads, preprocessing included; no path of a machine
model.safetensors   the weights, under the names that they have in checkpoints
classes.json        names and RGB colours by class id, the ignored label and the label of background
metrics.json        the metrics of these weights; {} if they were not evaluated
README.md           the model card
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from yacs.config import CfgNode

from segvit.classes.class_list import MODEL_CLASSES, ClassList, read_model_classes
from segvit.config.loading import MODEL_CONFIG, MODEL_WEIGHTS, config_layers
from segvit.errors import UserError
from segvit.model_folder.card import TrainingRecord, model_card
from segvit.model_folder.plain_config import nested, plain_config, portable_keys
from segvit.output_files import UNFINISHED, atomic_write_text

# The model folder in the OUTPUT_DIR of a run.
MODEL_FOLDER = "model"
CONFIG, WEIGHTS = MODEL_CONFIG, MODEL_WEIGHTS
CLASSES, METRICS, CARD = MODEL_CLASSES, "metrics.json", "README.md"


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
    metrics = json.loads(_text(folder / METRICS) or "{}")
    return ModelFolder(path=folder, cfg=cfg, classes=classes, metrics=metrics, card=_text(folder / CARD))


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
    """Write a model folder, complete or not at all; an existing model folder is replaced.

    The card gets the folder's name or `name`, unless its text is given.

    Raises:
        UserError: the folder exists and holds something else.
        OSError: it cannot be written.
    """
    target = Path(folder).absolute()
    if target.exists() and not is_model_folder(target) and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists and is no model folder: choose another path")
    values = portable_keys(cfg)
    temporary = target.with_name(f".{target.name}.{os.getpid()}{UNFINISHED}")
    temporary.mkdir(parents=True)
    try:
        (temporary / CONFIG).write_text(_config_text(values), encoding="utf-8")
        save_file(_copies(weights), temporary / WEIGHTS)
        shutil.copymode(temporary / CONFIG, temporary / WEIGHTS)  # safetensors lets only the owner read its file
        _write_json(temporary / CLASSES, _class_entries(classes, values["MODEL.SEM_SEG_HEAD.IGNORE_VALUE"]))
        _write_json(temporary / METRICS, dict(metrics))
        card = card or model_card(
            name=name or target.name, values=values, classes=classes, metrics=metrics, record=record
        )
        (temporary / CARD).write_text(card, encoding="utf-8")
        _replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def set_folder_keys(folder: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Change keys of a model folder's config, atomically. Raises UserError for a value that is out of range."""
    read = read_model_folder(folder)
    cfg = plain_config(portable_keys(read.cfg), values, origin=f"{folder}: ")
    atomic_write_text(read.path / CONFIG, _config_text(portable_keys(cfg)))


def _config_text(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(nested(values), default_flow_style=None, width=120, allow_unicode=True)


def _replace(new: Path, target: Path) -> None:
    """Rename a folder to the name of another one, which is deleted."""
    old = target.with_name(f".{target.name}.{os.getpid()}.old{UNFINISHED}")
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)
    shutil.rmtree(old, ignore_errors=True)


def _copies(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of their own in main memory: the format holds no shared ones."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}


def _class_entries(classes: ClassList, ignore_value: int) -> dict[str, Any]:
    entries = [{"name": name, "color": list(color)} for name, color in zip(classes.names, classes.colors, strict=True)]
    return {"classes": entries, "ignore_value": ignore_value, "background": len(entries)}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
