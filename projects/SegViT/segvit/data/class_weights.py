"""`with_counted_weights`: weights of classes in the losses (MODEL.SEGVIT.CLASS_WEIGHTS), counted on training labels.

Shape shorthand: K classes.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.utils import comm

from segvit.assembly.heads.class_weights import counts_weights, weights_by_id
from segvit.config.continual_step import class_names
from segvit.data.step_records import class_pixels, learnt_ids, training_records
from segvit.errors import UserError
from segvit.output_files import atomic_write_text

# The counted weights, in OUTPUT_DIR.
FILE = "class_weights.json"
# The lowest and the highest counted weight: a class of a few pixels must not outweigh all others.
LOWEST, HIGHEST = 0.5, 3.0

logger = logging.getLogger(__name__)


def with_counted_weights(cfg: CfgNode, *, resumes: bool) -> CfgNode:
    """The config with weights by class id: names are looked up, and "auto" is counted on the training labels.

    Counted weights are written to OUTPUT_DIR/class_weights.json. Every process of the job calls this.

    Args:
        cfg: a config that trains; not changed.
        resumes: read the weights from that file, if it exists, so that a run keeps them.

    Raises:
        UserError: see `class_weights`; or the file is damaged.
    """
    by_id = weights_by_id(cfg)
    if not by_id and not counts_weights(cfg):
        return cfg
    if counts_weights(cfg):
        counted = _counted(cfg, resumes=resumes) if comm.is_main_process() else None
        by_id = dict(enumerate(comm.all_gather(counted)[0])) | by_id
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.SEGVIT.CLASS_WEIGHTS = [[index, by_id[index]] for index in sorted(by_id)]
    return cfg


def balanced_weights(pixels: Sequence[int]) -> list[float]:
    """Weights from the pixels of each class: sqrt(median / pixels), from 0.5 to 3; 1 for a class without pixels.

    Differs from median frequency balancing (Eigen and Fergus 2015, section 6.3.1) by the root and the limits.
    """
    median = statistics.median([count for count in pixels if count] or [1])
    return [min(max((median / count) ** 0.5, LOWEST), HIGHEST) if count else 1.0 for count in pixels]


def _counted(cfg: CfgNode, *, resumes: bool) -> list[float]:
    """(K,) the weights in OUTPUT_DIR of a resumed run, or counted and written there."""
    file = Path(cfg.OUTPUT_DIR, FILE)
    if resumes and file.is_file():
        try:
            return [entry["weight"] for entry in json.loads(file.read_text(encoding="utf-8"))]
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{file} is damaged: delete it, and the labels are counted again") from error
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    pixels = _pixels_by_class(cfg)
    weights = balanced_weights(pixels)
    names = class_names(cfg) or [str(index) for index in range(num_classes)]
    content = [
        {"class": name, "pixels": count, "weight": weight}
        for name, count, weight in zip(names, pixels, weights, strict=True)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(file, json.dumps(content, indent=2) + "\n")
    logger.info("Weights of classes: %s", {name: round(weight, 2) for name, weight in zip(names, weights)})
    return weights


def _pixels_by_class(cfg: CfgNode) -> list[int]:
    """(K,) pixels of each class in all training labels; in a continual step, of its new classes alone."""
    pixels = np.zeros(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, np.int64)
    for name, records in training_records(cfg).items():
        ids = learnt_ids(cfg, name)
        counts = class_pixels(records, len(ids))
        np.add.at(pixels, ids[ids >= 0], counts[ids >= 0])
    return pixels.tolist()
