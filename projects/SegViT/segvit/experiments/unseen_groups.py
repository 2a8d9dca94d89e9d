"""Leave one group out: images are grouped by their file names, and each group is once the test set of a run."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.engine import HookBase

from segvit.datasets.name_groups import group_names
from segvit.errors import UserError
from segvit.experiments.cached_run import merge, read_record, run_or_load
from segvit.output_files import atomic_write_text
from segvit.visualization.curves import read_all_metrics

Records = list[dict[str, Any]]
# The images of a fold, in its folder.
IMAGES = "images.json"
# What datasets of a run need of the metadata of those that they are made of.
METADATA = ("stuff_classes", "stuff_colors", "ignore_label", "evaluator_type")


@dataclass(frozen=True)
class Fold:
    """A run that leaves out one group.

    Attributes:
        unseen: the group that is tested.
        cfg: the run's config.
        trained_images, unseen_images: their file names, without folders.
    """

    unseen: str
    cfg: CfgNode
    trained_images: list[str]
    unseen_images: list[str]

    @property
    def folder_name(self) -> str:
        """The group as the name of a folder, other for each group."""
        quoted = quote(self.unseen, safe="")
        return quoted.replace(".", "%2E") if quoted.startswith(".") else quoted


@dataclass(frozen=True)
class FoldResult:
    """The result of a fold, by its last evaluation.

    Attributes:
        unseen: the group that was tested.
        num_trained, num_unseen: images.
        miou, boundary_iou: in per cent, means over the classes that occur in the group.
        class_iou: class name -> IoU in per cent; None for a class that does not occur.
        minutes: of the whole run.
    """

    unseen: str
    num_trained: int
    num_unseen: int
    miou: float
    boundary_iou: float
    class_iou: Mapping[str, float | None]
    minutes: float


def make_folds(cfg: CfgNode, pattern: str) -> list[Fold]:
    """The folds of a config, one per group of the images of DATASETS.TRAIN and DATASETS.TEST; registers their datasets.

    Raises:
        UserError: see `group_names`.
    """
    names = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    # An image that is in two datasets must not be trained on and tested.
    records = {
        record["file_name"]: record
        for name in names
        for record in get_detection_dataset_dicts(name, filter_empty=False)
    }
    pooled = list(records.values())
    groups = group_names([Path(record["file_name"]).name for record in pooled], pattern)
    folds = []
    for unseen, positions in groups.items():
        tested = [pooled[position] for position in positions]
        trained = [pooled[position] for group, others in groups.items() if group != unseen for position in others]
        datasets = {f"all_but_{unseen}": trained, f"only_{unseen}": tested}
        for name, of_name in datasets.items():
            _register(name, of_name, like=next(iter(names)))
        train, test = datasets
        changed: dict[str, object] = {
            "DATASETS.TRAIN": (train,),
            "DATASETS.TEST": (test,),
            "TEST.BOUNDARY_IOU": True,
        }
        folds.append(Fold(unseen, merge(cfg, changed), _file_names(trained), _file_names(tested)))
    return folds


def run_fold(fold: Fold, folder: Path, hooks: Callable[[], list[HookBase]] = list) -> FoldResult:
    """Train and evaluate a fold, or load its result; see `run_or_load`.

    Raises:
        UserError: the folder has a run on other images, or the group has no labelled pixel.
    """
    lock_images(fold, folder)
    run = run_or_load(fold.cfg, folder, hooks)
    if math.isnan(run.miou_final):
        raise UserError(
            f"no pixel of group {fold.unseen} has a class, so that its IoU means nothing: join it to another"
        )
    last = {name: values[-1] for name, (_, values) in read_all_metrics(folder).items()}
    classes = MetadataCatalog.get(fold.cfg.DATASETS.TEST[0]).stuff_classes
    class_iou = {name: last.get(f"sem_seg/IoU-{name}", math.nan) for name in classes}
    return FoldResult(
        unseen=fold.unseen,
        num_trained=len(fold.trained_images),
        num_unseen=len(fold.unseen_images),
        miou=run.miou_final,
        boundary_iou=last["sem_seg/mBoundaryIoU"],
        class_iou={name: None if math.isnan(value) else value for name, value in class_iou.items()},
        minutes=run.minutes,
    )


def lock_images(fold: Fold, folder: Path) -> None:
    """Write the names of a fold's images into the folder. Raises UserError if it has those of other images."""
    record, images = folder / IMAGES, {"trained": fold.trained_images, "unseen": fold.unseen_images}
    if record.is_file() and read_record(record, dict) != images:
        raise UserError(f"{record} belongs to a run on other images: choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_text(record, json.dumps(images, indent=2) + "\n")


def mean_class_iou(results: Sequence[FoldResult]) -> dict[str, float | None]:
    """Class name -> the mean over the groups in which it occurs, in per cent."""
    found = {
        name: [value for result in results if (value := result.class_iou[name]) is not None]
        for name in results[0].class_iou
    }
    return {name: statistics.fmean(values) if values else None for name, values in found.items()}


def _file_names(records: Records) -> list[str]:
    return sorted(Path(record["file_name"]).name for record in records)


def _register(name: str, records: Records, *, like: str) -> None:
    """Register records as a dataset with the classes of another, in place of an earlier dataset of this name."""
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: records)
    metadata = MetadataCatalog.get(like)
    MetadataCatalog.get(name).set(**{key: metadata.get(key) for key in METADATA if metadata.get(key) is not None})
