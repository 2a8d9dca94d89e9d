"""The doctor's rules on a sample of a config's datasets: warnings before training, and ids that would end it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from segvit.classes.class_list import ClassList
from segvit.config.continual_step import model_names_classes
from segvit.dataset_tools.doctor.checked_dataset import CheckedDataset, Pair, Split
from segvit.dataset_tools.doctor.dataset_report import check_dataset
from segvit.dataset_tools.doctor.finding import Finding
from segvit.errors import UserError
from segvit.images import image_format_of

# Pairs of each dataset that are read, evenly spaced.
SAMPLE_SIZE = 50
# Findings that a sample can show; absent classes and duplicates need all files.
KINDS = (
    *(
        "colored_label_map",
        "dark_images",
        "white_images",
        "flat_channels",
        "ids_out_of_range",
        "shifted_ids",
        "ignored_foreground",
    ),
    *("unlabelled", "mostly_ignored", "single_class", "one_class"),
)

# Those that end a training at the first such label map.
ENDS_TRAINING = ("ids_out_of_range", "shifted_ids", "colored_label_map")
# Those after which the metrics of a test set say nothing.
MEANINGLESS_METRICS = ("unlabelled", "single_class")

logger = logging.getLogger(__name__)


def check_before_training(cfg: CfgNode) -> list[Finding]:
    """Log the findings on up to SAMPLE_SIZE pairs of each dataset of DATASETS.TRAIN and DATASETS.TEST as warnings."""
    findings = _find(cfg)
    for finding in findings:
        logger.warning("%s\ntools/check_dataset.py checks all files", finding.describe())
    return findings


def require_known_ids(cfg: CfgNode) -> None:
    """Raise UserError for label maps among these pairs at which training would end: ids of no class, or colours."""
    for finding in _find(cfg):
        if finding.kind in ENDS_TRAINING:
            raise UserError(f"{finding.describe()}\nnothing was started, and nothing deleted")


def _find(cfg: CfgNode) -> list[Finding]:
    names_by_classes: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        classes = MetadataCatalog.get(name).get("stuff_classes")
        if classes:
            names_by_classes.setdefault(tuple(classes), []).append(name)
    return [finding for classes, names in names_by_classes.items() for finding in _check(names, classes, cfg)]


def _check(names: list[str], classes: tuple[str, ...], cfg: CfgNode) -> list[Finding]:
    """The findings on datasets with the same classes."""
    dataset = CheckedDataset(
        title=", ".join(names),
        classes=ClassList(names=classes, colors=(), colors_given=False),
        ignore_value=cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        splits=tuple(Split(name, tuple(_sample(name)), ()) for name in names),
    )
    report = check_dataset(dataset, workers=4, image_format=image_format_of(cfg), progress=False)
    # Single label maps without a labelled pixel are common in crops and tiles; a whole dataset of them is not.
    empty = {name for name, counts in report.counts.items() if counts.ignored_fraction == 1}
    # One class may be added to those of a model.
    kinds = set(KINDS) - ({"one_class"} if model_names_classes(cfg) else set())
    return [it for it in report.findings if it.kind in kinds and (it.kind != "unlabelled" or it.split in empty)]


def _sample(name: str) -> list[Pair]:
    pairs = [pair for record in DatasetCatalog.get(name) if (pair := _pair(record))]
    chosen = np.linspace(0, len(pairs) - 1, min(SAMPLE_SIZE, len(pairs))).round().astype(int)
    return [pairs[index] for index in chosen]


def _pair(record: dict[str, Any]) -> Pair | None:
    if "sem_seg_file_name" not in record:
        return None
    image = Path(record["file_name"])
    return Pair(image.stem, image, Path(record["sem_seg_file_name"]))
