"""`pack_checkpoint`: a checkpoint of a run, or one that was converted, as a model folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm.models import clean_state_dict
from yacs.config import CfgNode

from segvit.classes.class_list import MODEL_CLASSES, ClassList, read_model_classes
from segvit.config.unread_keys import READ
from segvit.datasets.dataset_classes import class_list_of, dataset_class_lists
from segvit.errors import UserError
from segvit.model_folder.card import TrainingRecord
from segvit.model_folder.files import MODEL_FOLDER, is_model_folder, write_model_folder
from segvit.model_folder.plain_config import OWN_DEFAULTS, plain_config
from segvit.modeling.weights.weight_files import read_weight_file, require_finite

# The folders of absolute paths inside an argument, such as --config-file=/a/b.yaml and ('hf:/a/b:train',).
FOLDERS = re.compile(r"(?<![\w./-])/(?:[^/\s:'\",=()]+/)+")


def pack_checkpoint(
    checkpoint: Path,
    folder: Path,
    *,
    cfg: CfgNode | None = None,
    metrics: Mapping[str, float] | None = None,
    command: Sequence[str] = (),
) -> Path:
    """Write the model of a checkpoint into a model folder; the averaged weights, if the run averaged them (EMA).

    Args:
        checkpoint: the file.
        folder: see `write_model_folder`.
        cfg: the config of the run; by default the one that the checkpoint holds.
        metrics: of these weights, in percent.
        command: that trained them; folders of this machine are left out.

    Raises:
        UserError: the checkpoint holds no config and none is given, or no weights.
    """
    content = read_weight_file(checkpoint)
    return pack_content(content, folder, origin=checkpoint, cfg=cfg, metrics=metrics, command=command)


def pack_content(
    content: Mapping[str, Any],
    folder: Path,
    *,
    origin: Path,
    cfg: CfgNode | None = None,
    metrics: Mapping[str, float] | None = None,
    command: Sequence[str] = (),
) -> Path:
    """`pack_checkpoint` of what was read from the file `origin`."""
    weights = clean_state_dict(content.get("model", {}))
    if not weights:
        raise UserError(f"{origin} holds no weights under the name 'model': it is not a checkpoint of this project")
    require_finite(weights, str(origin))
    if cfg is None:
        cfg = _recorded_config(content, origin)
    iteration = content.get("iteration", content.get("trainer", {}).get("iteration"))
    return write_model_folder(
        folder,
        cfg=cfg,
        weights=weights,
        classes=_classes(content.get("classes", ()), cfg),
        metrics=metrics or {},
        record=TrainingRecord(
            iterations=None if iteration is None else iteration + 1, command=portable_command(command)
        ),
    )


def portable_command(arguments: Sequence[str]) -> str:
    """A command line with the last part of each absolute path alone."""
    return shlex.join(
        Path(argument).name if Path(argument).is_absolute() else FOLDERS.sub("", argument) for argument in arguments
    )


def _recorded_config(content: Mapping[str, Any], checkpoint: Path) -> CfgNode:
    recorded = content.get("config")
    if not recorded:
        raise UserError(f"{checkpoint} is of an older version and holds no config: name that of its run")
    return plain_config({key: value for key, value in recorded.items() if key in READ or key in OWN_DEFAULTS})


def _classes(recorded: Sequence[str], cfg: CfgNode) -> ClassList:
    """The names that the checkpoint records, with the colours of the model that the training began with, and those of
    its datasets."""
    known = class_list_of(cfg)
    if not recorded or tuple(recorded) == known.names:
        return known
    return ClassList.with_known_colors(recorded, [*_initial_classes(cfg), *dataset_class_lists(cfg)])


def _initial_classes(cfg: CfgNode) -> list[ClassList]:
    """The classes in the model folder of MODEL.WEIGHTS: around it, of its run, or of its continual step."""
    if not cfg.MODEL.WEIGHTS:
        return []
    weights = Path(cfg.MODEL.WEIGHTS)
    folders = (weights.parent, weights.parent / MODEL_FOLDER, weights.with_suffix("") / MODEL_FOLDER)
    return [read_model_classes(folder / MODEL_CLASSES) for folder in folders if is_model_folder(folder)]
