"""The images with classes that a model does not know: which ones have them, and whether they fit the model."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from segvit.config.continual_step import dataset_classes
from segvit.continual.learnt_classes import step_of
from segvit.data.step_records import classes_present, step_records
from segvit.errors import UserError
from segvit.images import image_format_of

logger = logging.getLogger(__name__)


def describe_training(cfg: CfgNode) -> str:
    """What is learnt from which images, in a line; with a warning if no pixel is a negative of the new classes."""
    new, (selected, labelled) = _new_names(cfg), _selected(cfg)
    total = sum(len(DatasetCatalog.get(name)) for name in cfg.DATASETS.TRAIN)
    line = f"New classes: {', '.join(new)}; {selected} of {total} images have a pixel of them and are trained on"
    others = [name for name in dataset_classes(cfg.DATASETS.TRAIN[0]) if name not in step_of(cfg).class_names]
    if others:
        line += f"; background: {', '.join(others)}"
    if labelled <= set(new):
        logger.warning(
            "no pixel of these images is labelled as anything but %s: nothing tells the new classes from the rest. "
            "Label other pixels, by classes of the model or one such as 'other', and name the new ones by --classes",
            ", ".join(new),
        )
    return line


def describe_evaluation(cfg: CfgNode) -> str:
    """How many images of the evaluation have classes that the model does not know, in a line.

    Raises:
        UserError: none has one, or none has a pixel of a class that the model knows: there is nothing to compare.
    """
    new, (name,) = _new_names(cfg), cfg.DATASETS.TEST
    present = _names_in(DatasetCatalog.get(name), dataset_classes(name))
    known = [known for known in step_of(cfg).class_names if known not in new]
    labelled = set[str]().union(*present)
    for names, kind in ((new, "the model does not know"), (known, "the model knows")):
        if not labelled & set(names):
            raise UserError(
                f"{name} has no pixel of a class that {kind} ({', '.join(names)}): the AUROC compares both kinds"
            )
    number = sum(bool(names & set(new)) for names in present)
    return f"Unknown classes: {', '.join(new)}; {number} of {len(present)} images of {name} have a pixel of them"


def require_pixels(cfg: CfgNode) -> None:
    """Raise UserError if no training image has a pixel of one of the new classes."""
    new, (_, labelled) = _new_names(cfg), _selected(cfg)
    absent = [name for name in new if name not in labelled]
    if absent:
        others = " ".join(shlex.quote(name) for name in new if name in labelled)
        raise UserError(
            f"no training image has a pixel of {', '.join(absent)}, which would never be predicted: label some, or "
            f"choose the classes to learn: --classes {others}"
        )


def require_fitting_images(cfg: CfgNode) -> None:
    """Read an image of each dataset. Raises UserError if it has other channels or levels than those of the model."""
    image_format = image_format_of(cfg)
    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        image_format.read(DatasetCatalog.get(name)[0]["file_name"])


def _new_names(cfg: CfgNode) -> list[str]:
    step = step_of(cfg)
    return [step.class_names[class_id] for class_id in step.new_classes]


def _selected(cfg: CfgNode) -> tuple[int, set[str]]:
    """The number of images that are trained on, and the names of the classes that they have a pixel of."""
    selected = [record for records in (step_records(cfg) or {}).values() for record in records]
    present = _names_in(selected, dataset_classes(cfg.DATASETS.TRAIN[0]))
    return len(selected), set[str]().union(*present)


def _names_in(records: Sequence[dict[str, Any]], of_dataset: Sequence[str]) -> list[set[str]]:
    """The names of the classes in each label map."""
    return [
        {of_dataset[class_id] for class_id in present if class_id < len(of_dataset)}
        for present in classes_present(records)
    ]
