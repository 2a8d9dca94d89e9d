"""`record_of`: the class names that a checkpoint is compared with in prediction."""

from __future__ import annotations

from yacs.config import CfgNode

from segvit.checkpoint.run_record import RunRecord


def record_of(cfg: CfgNode) -> RunRecord:
    """What a checkpoint is compared with: the class names of `class_list_of`, if a dataset gives them."""
    return RunRecord.of(cfg, datasets=(*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN))
