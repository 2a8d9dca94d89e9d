"""The training images of a config, those of a continual step among them, and the classes in their label maps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import get_detection_dataset_dicts

from segvit.config.continual_step import ContinualStep, continual_step, model_ids
from segvit.data.label_reading import count_ids, ids_in, read_label_map
from segvit.errors import UserError
from segvit.image_reading import ROWS
from segvit.progress import progress_bar

Records = list[dict[str, Any]]


def step_records(cfg: CfgNode) -> dict[str, Records] | None:
    """The records of each dataset of DATASETS.TRAIN that the config's step trains on; None without a continual step.

    Raises:
        UserError: the step has no image.
    """
    step = continual_step(cfg)
    if step is None:
        return None
    names = list(cfg.DATASETS.TRAIN)
    records = {
        name: select_records(get_detection_dataset_dicts(name, filter_empty=False), step, model_ids(step, name))
        for name in names
    }
    if not any(records.values()):
        raise UserError(
            f"step {step.index} of MODEL.SEGVIT.CONTINUAL has no image in {names}: with SELECTION {step.selection!r}, "
            f"none is selected for its classes {list(step.new_classes)}"
            + (
                "; SELECTION 'overlapped' also selects images with later classes"
                if step.selection == "disjoint"
                else ""
            )
        )
    return records


def select_records(records: Records, step: ContinualStep, ids: np.ndarray) -> Records:
    """The records with a pixel of the step's new classes; "disjoint" excludes those with a pixel of later classes.

    The background class does not count.

    Args:
        records: with `sem_seg_file_name`.
        step: the step.
        ids: the model's class id of each of the dataset's classes, -1 for none.
    """
    selected = []
    for record, present in zip(records, classes_present(records), strict=True):
        classes = ids[present[present < len(ids)]]
        overlaps = np.isin(classes, step.selecting_classes).any()
        if overlaps and not (step.selection == "disjoint" and np.isin(classes, step.later_classes).any()):
            selected.append(record)
    return selected


def training_records(cfg: CfgNode) -> dict[str, Records]:
    """The records of each dataset of DATASETS.TRAIN that the config trains on. Raises as `step_records` does."""
    records = step_records(cfg)
    if records is not None:
        return records
    filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    return {name: get_detection_dataset_dicts(name, filter_empty=filter_empty) for name in cfg.DATASETS.TRAIN}


def learnt_ids(cfg: CfgNode, dataset_name: str) -> np.ndarray:
    """(classes of the dataset,) int64: the id of each class that training learns, in a step the new ones; else -1."""
    step = continual_step(cfg)
    if step is None:
        return np.arange(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
    ids = model_ids(step, dataset_name)
    return np.where(np.isin(ids, step.new_classes), ids, -1)


def class_pixels(records: Sequence[Mapping[str, Any]], num_ids: int) -> np.ndarray:
    """(num_ids,) int64: the pixels of each id below `num_ids` in all label maps."""
    counts = np.zeros(num_ids, np.int64)
    files = [record["sem_seg_file_name"] for record in records]
    with ThreadPoolExecutor() as pool:
        # Counted where they are read: results wait for this thread, and label maps would fill the memory.
        found = pool.map(lambda file: count_ids(read_label_map(file)), files)
        for ids, pixels in progress_bar(found, title="counting pixels", unit="label map", total=len(files)):
            known = ids < num_ids
            counts[ids[known]] += pixels[known]
    return counts


def classes_present(records: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """The ids in each label map, including the ignore value."""
    files = [record["sem_seg_file_name"] for record in records]
    with ThreadPoolExecutor() as pool:
        ids = pool.map(_classes_in, files, map(_modification_time, files))
        return list(progress_bar(ids, title="reading label maps", unit="label map", total=len(files)))


@cache
def _classes_in(file: str, modified: int) -> np.ndarray:
    """The ids in a label map; cached, since every step of a protocol reads the same files."""
    return ids_in(read_label_map(file))


def _modification_time(file: str) -> int:
    return 0 if file.startswith(ROWS) else os.stat(file).st_mtime_ns
