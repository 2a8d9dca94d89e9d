"""Which images a step of continual segmentation trains on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import get_detection_dataset_dicts
from tqdm import tqdm

from segvit.config.continual_step import ContinualStep, continual_step, model_ids
from segvit.data.image_reading import read_label_map
from segvit.errors import UserError

Records = list[dict[str, Any]]


def step_records(cfg: CfgNode) -> Records | None:
    """The images of DATASETS.TRAIN that the config's step takes; None, for all, without continual segmentation.

    Raises:
        UserError: where a step has no image.
    """
    names = list(cfg.DATASETS.TRAIN)
    step = continual_step(cfg)
    if step is None:
        return None
    records = [
        record
        for name in names
        for record in select_records(get_detection_dataset_dicts(name, filter_empty=False), step, model_ids(step, name))
    ]
    if not records:
        raise UserError(
            f"step {step.index} of MODEL.SEGVIT.CONTINUAL has no image among those of {names}: none is "
            f"{step.selection!r} for its classes {list(step.new_classes)}"
            + ("; SELECTION 'overlapped' takes images with later classes, too" if step.selection == "disjoint" else "")
        )
    return records


def select_records(records: Records, step: ContinualStep, ids: np.ndarray) -> Records:
    """Those with a pixel of the step's classes; "disjoint": and none of later ones, so that each is in one step alone.

    Args:
        records: with `sem_seg_file_name`.
        step: the step.
        ids: the model's class id of each of the data set's, -1 for none.
    """
    later = [entry for group in step.groups[step.index + 1 :] for entry in group]
    selected = []
    for record, present in zip(records, _classes_present(records), strict=True):
        classes = ids[present[present < len(ids)]]
        overlaps = np.isin(classes, step.new_classes).any()
        if overlaps and not (step.selection == "disjoint" and np.isin(classes, later).any()):
            selected.append(record)
    return selected


def _classes_present(records: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """The ids in each label map, the ignored one included."""
    files = [record["sem_seg_file_name"] for record in records]
    with ThreadPoolExecutor() as pool:
        return list(tqdm(pool.map(_classes_in, files, map(_version, files)), "Classes of each image", len(files)))


@cache
def _classes_in(file: str, version: int) -> np.ndarray:
    """Every step of a protocol asks the same of the same files: each is read once, unless it has changed."""
    return np.unique(read_label_map(file))


def _version(file: str) -> int:
    return os.stat(file).st_mtime_ns
